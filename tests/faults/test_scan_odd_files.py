"""Files that are no ordinary ones: each gets its answer, and none keeps another from getting its own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import limits
from pipeline.scan import Found, Scan
from tests.agents.installation import AGENTS, installation, settings_in
from tests.processes import Process, children, environment, run, until
from tests.realfiles import real_files, sha256_of
from tests.seeds import seeded

EMPTY = hashlib.sha256(b"").hexdigest()
WITHOUT_RIGHTS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""Makes root an ordinary reader."""
PARSERS_HIT = 12


def scan(tmp_path: Path, *paths: Path, code: int = 0, before: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run a scan to its end; return what it says of each path."""
    arguments = ["scan", *map(str, paths), "--data", str(tmp_path / "data"), "--json"]
    result = run(arguments, environment=environment(tmp_path), before=before)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len({answer["path"] for answer in answers}) == len(answers)
    return {answer["path"]: answer for answer in answers}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an empty folder to put files into."""
    made = tmp_path / "files"
    made.mkdir()
    return made


def put(path: Path, data: bytes = b"some text\n") -> str:
    """Write a file and return its hash."""
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def test_an_empty_file_is_a_file(tmp_path: Path, folder: Path) -> None:
    put(folder / "empty", b"")
    for outcome in ("new", "known"):
        found = scan(tmp_path, folder)[str(folder / "empty")]
        assert (found["outcome"], found["sha256"], found["size_bytes"]) == (outcome, EMPTY, 0)
        assert found["mime"] == "inode/x-empty"


def test_what_cannot_be_read_fails_alone_and_says_why(tmp_path: Path, folder: Path) -> None:
    good = put(folder / "good")
    put(folder / "secret")
    (folder / "secret").chmod(0)
    (folder / "shut").mkdir(mode=0)
    before = WITHOUT_RIGHTS if os.geteuid() == 0 else ()
    found = scan(tmp_path, folder, code=1, before=before)
    (folder / "shut").chmod(0o700)
    assert found[str(folder / "good")]["sha256"] == good
    for name in ("secret", "shut"):
        answer = found[str(folder / name)]
        assert (answer["outcome"], answer["problem"]) == ("failed", "Permission denied")


def test_what_is_no_regular_file_is_never_waited_for(tmp_path: Path, folder: Path) -> None:
    good = put(folder / "good")
    os.mkfifo(folder / "pipe")
    (folder / "dangling").symlink_to(folder / "nowhere")
    assert list(scan(tmp_path, folder)) == [str(folder / "good")]
    named = [folder / name for name in ("good", "pipe", "dangling")]
    found = scan(tmp_path, *named, Path("/dev/zero"), code=1)
    assert found[str(folder / "good")]["sha256"] == good
    assert found[str(folder / "pipe")]["problem"] == found["/dev/zero"]["problem"] == "not a regular file"
    assert found[str(folder / "dangling")]["problem"] == "No such file or directory"


def test_names_that_are_no_text_or_steer_terminals_are_answered_each(tmp_path: Path, folder: Path) -> None:
    names = [
        b"line\nbreak",
        b"carriage\rreturn",
        b"\x1b[2Jcleared\x1b[31m",
        b"not utf-8 \xff\xfe",
        b"not utf-8 \\xff\\xfe",  # looks like the one above when that is shown
        "turned \u202e gpj.exe".encode(),
        b"tab\tand space ",
        b"-rf",
        b"n" * 255,
    ]
    hashes = {}
    for number, name in enumerate(names):
        path = folder / os.fsdecode(name)
        hashes[put(path, b"%d" % number)] = os.fsencode(path).decode(errors="backslashreplace")
    arguments = ["scan", str(folder), "--data", str(tmp_path / "data")]
    machine = run([*arguments, "--json"], environment=environment(tmp_path))
    answers = [json.loads(line) for line in machine.stdout.splitlines()]
    assert {answer["sha256"]: answer["path"] for answer in answers} == hashes
    assert len(answers) == len(names)
    people = run(arguments, environment=environment(tmp_path))
    assert people.returncode == machine.returncode == 0
    assert not set("\x1b\r\u202e") & set(people.stdout)
    assert len(people.stdout.split("\n\n")[0].splitlines()) == len(names)


def test_a_deep_path_is_a_path(tmp_path: Path, folder: Path) -> None:
    deep = folder
    while len(str(deep)) < 3500:
        deep /= "d" * 200
    deep.mkdir(parents=True)
    expected = put(deep / "file")
    assert scan(tmp_path, folder)[str(deep / "file")]["sha256"] == expected


def test_a_rule_that_does_not_compile_costs_only_itself(tmp_path: Path, folder: Path) -> None:
    rules = tmp_path / "data" / "rules"
    rules.mkdir(parents=True)
    (rules / "good.yar").write_text('rule has_mark { strings: $a = "mark" condition: $a }')
    (rules / "broken.yar").write_text("rule broken { condition: nothing_known }")
    (rules / "binary.yar").write_bytes(b"\xff\x00\xfe")
    put(folder / "file", b"the mark is here")
    found = scan(tmp_path, folder)
    assert found[str(folder / "file")]["rules"] == ["has_mark"]


async def test_a_file_removed_between_listing_and_reading_fails_alone(tmp_path: Path, folder: Path) -> None:
    names = ["first", "second", "third"]
    hashes = {name: put(folder / name, name.encode()) for name in names}

    class Vanishing(list[Path]):
        """Files of which one goes away once it has been listed."""

        def __iter__(self) -> Iterator[Path]:
            for path in super().__iter__():
                yield path
                if path.name == "second":
                    path.unlink()

    answers: dict[str, Found] = {}
    async with installation(settings_in(tmp_path / "data", AGENTS)) as (parts, agents):
        scanning = Scan(parts, agents.backlog, lambda found: answers.update({Path(found.path).name: found}))
        await scanning.run(Vanishing(folder / name for name in names))
    assert answers["second"].outcome == "failed"
    assert answers["second"].problem == "No such file or directory"
    for name in ("first", "third"):
        finding = answers[name].finding
        assert finding is not None
        assert finding.sha256 == hashes[name]


async def test_a_large_file_changed_while_it_is_scanned_is_never_stored_under_the_wrong_hash(
    tmp_path: Path, folder: Path
) -> None:
    path = folder / "growing"
    put(path, b"a" * 3 * limits.MIB)
    answers: list[Found] = []
    async with installation(settings_in(tmp_path / "data", AGENTS)) as (parts, agents):
        store = parts.objects.put

        async def grow_and_store(key: str, source: Any) -> Any:
            with path.open("ab") as file:
                file.write(b"b")
            return await store(key, source)

        parts.objects.put = grow_and_store  # type: ignore[method-assign, assignment]
        await Scan(parts, agents.backlog, answers.append).run([path])
        stored = [stat.key async for stat in parts.objects.list("scan/")]
    assert [(found.outcome, found.problem) for found in answers] == [("failed", "it changed meanwhile")]
    assert stored == []


@pytest.mark.timeout(240)
async def test_parsers_killed_and_stopped_from_outside_cost_no_answer(tmp_path: Path, folder: Path) -> None:
    paths = real_files(400)
    for number, path in enumerate(paths):
        shutil.copy(path, folder / f"{number:03}")
    chance = seeded(31)
    arguments = ["-s", "parser.timeout_seconds=2", "scan", str(folder), "--data", str(tmp_path / "data")]
    process = Process([*arguments, "--json"], log=tmp_path / "scan.log", environment=environment(tmp_path))
    hit: set[int] = set()
    for number in range(PARSERS_HIT):
        # Every few answers one of the parser processes that live then is hit, each once.
        await until(lambda wanted=3 * number: not process.running or answered(process) > wanted)
        fresh = sorted(set(await asyncio.to_thread(children, process.pid)) - hit)
        with contextlib.suppress(IndexError, ProcessLookupError):  # there may be none just then
            os.kill(parser := chance.choice(fresh), chance.choice([signal.SIGKILL, signal.SIGSTOP]))
            hit.add(parser)
    assert await process.ended() == 0, process.told()
    answers = [json.loads(line) for line in process.printed().splitlines()]
    expected = await asyncio.to_thread(lambda: {str(path): sha256_of(path) for path in folder.iterdir()})
    assert {answer["path"]: answer["sha256"] for answer in answers} == expected
    assert len(answers) == len(paths)
    assert len(hit) > 1
    assert process.told().count("parser process lost") >= len(hit) - 1, "one may have had nothing in hand"
    # Whoever was killed once gets a second try; who hung is told apart by its problem.
    assert sum(not answer["problem"] for answer in answers) > len(paths) - PARSERS_HIT


def answered(process: Process) -> int:
    """Count the answers printed so far."""
    return len(process.printed().splitlines())
