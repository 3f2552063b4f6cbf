"""submit and get: bytes go in and come out the same, whether a server runs or not."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import stat
import sys
from pathlib import Path

import pytest

from pipeline.events.codec import decode_stored
from pipeline.objects.neuter import unpack
from tests.cli.command import Command
from tests.web.site import SOURCED, Site, sha256

DATA = b"bytes for the command line" * 5000


def _file(folder: Path, data: bytes = DATA, name: str = "sample.bin") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_what_was_submitted_comes_back(either: Command, tmp_path: Path) -> None:
    submitted = either("submit", _file(tmp_path), "-r", "ticket=4711", "--json").json
    assert submitted["sha256"] == sha256(DATA)
    raw = tmp_path / "raw"
    either("get", submitted["sha256"], "--raw", "-o", raw)
    assert raw.read_bytes() == DATA
    cart = tmp_path / "sample.cart"
    report = either("get", submitted["sha256"].upper(), "-o", cart, "--json").json
    assert report == {
        "sha256": sha256(DATA),
        "format": "cart",
        "path": str(cart),
        "size_bytes": cart.stat().st_size,
    }

    async def plain() -> bytes:
        return b"".join([chunk async for chunk in await unpack(cart)])

    assert asyncio.run(plain()) == DATA
    assert either("get", submitted["sha256"], "--raw").out == DATA
    assert not list(tmp_path.glob(".headrace-*"))


def test_a_folder_is_submitted_file_by_file(headrace: Command, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    for number in range(5):
        _file(folder / "deep" if number % 2 else folder, b"%d" % number, f"file{number}")
    (folder / "link").symlink_to(_file(tmp_path))
    out = headrace("submit", folder).lines
    assert {line.split()[0] for line in out} == {sha256(b"%d" % number) for number in range(5)}


def test_standard_input_is_submitted(headrace: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DATA)))
    answer = headrace("submit", "-", "--filename", "piped.txt", "--source", "scan", "--json").json
    assert answer["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert ".scan." in answer["event"]["topic"]


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.bin", b"\x1b[31mred", "\u202egpj.exe".encode(), b"tab\tnew\nline"]
)
def test_a_hostile_file_name_cannot_steer_the_terminal(
    headrace: Command, tmp_path: Path, name: bytes
) -> None:
    path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - a name that is no text
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(DATA)
    result = headrace("submit", os.fsdecode(path))
    assert result.text.rstrip("\n").isprintable()

    async def recorded(site: Site) -> str:
        [record] = await site.records(SOURCED)
        event = decode_stored("binary", record.value)
        assert event is not None
        return event.entity.features[0].value

    assert headrace.prepare(recorded) == name.decode(errors="backslashreplace")


def test_one_bad_file_does_not_stop_the_others(headrace: Command, tmp_path: Path) -> None:
    files = [_file(tmp_path, b"", "empty"), tmp_path / "missing", _file(tmp_path)]
    result = headrace("submit", *files, code=1)
    assert [line.split()[0] for line in result.lines] == [sha256(DATA)]
    assert "empty" in result.err
    assert "missing" in result.err


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["missing"], 3, "missing"),
        (["empty"], 2, "empty"),
        (["sample.bin", "--source", "nope"], 3, "testing"),
        (["sample.bin", "-r", "novalue"], 2, "KEY=VALUE"),
        (["sample.bin", "sample.bin", "--filename", "x"], 2, "--filename"),
        ([], 2, "PATH"),
        (["sample.bin", "--nonsense"], 2, "nonsense"),
    ],
)
def test_a_failed_submission_says_why_in_one_sentence(
    headrace: Command, tmp_path: Path, arguments: list[str], code: int, word: str
) -> None:
    _file(tmp_path)
    _file(tmp_path, b"", "empty")
    result = headrace("submit", *arguments, code=code)
    assert word in result.err
    assert "Traceback" not in result.err
    assert not result.out


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha512"])
def test_an_object_is_fetched_by_any_hash_the_index_knows(headrace: Command, kind: str) -> None:
    async def fill(site: Site) -> None:
        await site.submit(DATA)
        await site.index_events()

    headrace.prepare(fill)
    assert headrace("get", hashlib.new(kind, DATA).hexdigest(), "--raw").out == DATA
    headrace("get", hashlib.new(kind, b"other").hexdigest(), code=3)


def test_what_is_not_there_is_not_found_and_makes_no_file(either: Command, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert "no such object" in either("get", "0" * 64, "-o", target, code=3).err
    either("get", "nothash", "-o", target, code=2)
    either("get", sha256(DATA), "-o", tmp_path / "no" / "folder", code=3)
    assert not target.exists()


def test_a_file_that_cannot_be_written_is_told(headrace: Command, tmp_path: Path) -> None:
    headrace("submit", _file(tmp_path))
    assert "No such file" in headrace("get", sha256(DATA), "-o", tmp_path / "no" / "folder", code=1).err


def test_damaged_bytes_are_refused_and_leave_no_file(headrace: Command, tmp_path: Path) -> None:
    headrace("submit", _file(tmp_path))
    [stored] = [path for path in (headrace.data / "objects").rglob(sha256(DATA)) if path.is_file()]
    stored.chmod(0o600)
    stored.write_bytes(DATA.replace(b"b", b"c"))
    target = tmp_path / "out"
    assert "SHA-256" in headrace("get", sha256(DATA), "--raw", "-o", target, code=1).err
    assert not target.exists()
    assert not list(tmp_path.glob(".headrace-*"))


def test_a_file_without_a_size_is_submitted_whole(headrace: Command) -> None:
    status = Path("/proc/version")
    assert headrace("submit", status, "--json").json["sha256"] == sha256(status.read_bytes())


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_while_it_is_read_is_not_taken(
    headrace: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    path = _file(tmp_path)
    size = os.fstat

    def stale(descriptor: int) -> os.stat_result:
        """Answer as if the file had had another size when it was opened."""
        found = list(size(descriptor))
        found[stat.ST_SIZE] += change
        return os.stat_result(found)

    monkeypatch.setattr("pipeline.cli.submit.os.fstat", stale)
    assert "changed" in headrace("submit", path, code=2).err

    async def stored(site: Site) -> list[str]:
        return await site.stored_keys()

    monkeypatch.undo()
    assert headrace.prepare(stored) == []
