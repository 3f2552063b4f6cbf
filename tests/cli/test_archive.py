"""headrace archive: what is printed, the exit codes, and that nothing is deleted without a yes."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from pipeline import limits_archive
from pipeline.app import archive_of, make_parts
from pipeline.archive.archive import Archive
from pipeline.archive.lookup import ArchivedRow
from pipeline.clock import ManualClock
from pipeline.settings import Settings, load, put
from tests.archive.archived import TIME_MS, TOPIC
from tests.archive.harm import FIRST_GENERATION, change_row, cut, filled, first_generation, flip_bit
from tests.archive.restoring import remove_topics
from tests.cli.command import Command, Result
from tests.conftest import S3Server
from tests.databases import postgres_schema
from tests.stores import s3_url

T = TypeVar("T")
LAYOUTS = pytest.mark.parametrize("layout", ["objects", "packs"])


class Place:
    """An installation's archive: the command on it, and its parts for tests to change."""

    def __init__(self, headrace: Command, options: dict[str, str]) -> None:
        self._headrace = headrace
        self._options = options

    def __call__(self, words: str, *arguments: str, code: int = 0) -> Result:
        """Run ``headrace archive …`` on it."""
        given = [part for name, value in self._options.items() for part in ("-s", f"{name}={value}")]
        data = ("--data", str(self._headrace.data))
        return self._headrace.plain(*given, "archive", *words.split(), *arguments, *data, code=code)

    @property
    def settings(self) -> Settings:
        """Give its settings."""
        overrides: dict[str, Any] = {"data": str(self._headrace.data)}
        for name, value in self._options.items():
            put(overrides, name.split("."), value)
        return load(overrides).settings

    def do(self, work: Callable[[Archive], Awaitable[T]], clock: ManualClock | None = None) -> T:
        """Do something to the archive, beside the command."""

        async def run() -> T:
            async with self.opened(clock) as archive:
                return await work(archive)

        return asyncio.run(run())

    @asynccontextmanager
    async def opened(self, clock: ManualClock | None = None) -> AsyncIterator[Archive]:
        """Open it while the block runs."""
        parts = make_parts(self.settings, clock)
        await parts.database.open()
        await parts.archived.open()
        try:
            yield archive_of(parts)
        finally:
            await parts.archived.close()
            await parts.database.close()

    def fill(self, layout: str = "objects", **options: Any) -> list[ArchivedRow]:
        """Archive some messages."""
        return self.do(lambda archive: filled(archive, layout, **options))


@pytest.fixture(params=["embedded", pytest.param("servers", marks=[pytest.mark.postgres, pytest.mark.s3])])
def place(request: pytest.FixtureRequest, headrace: Command, unique: str) -> Iterator[Place]:
    """Give an empty archive, in a folder or on real servers."""
    if request.param == "embedded":
        yield Place(headrace, {})
        return
    server: S3Server = request.getfixturevalue("s3_server")
    schema = postgres_schema(request.getfixturevalue("postgres_dsn"))
    url = asyncio.run(anext_of(schema))
    made = Place(headrace, {"database": url, "objects": s3_url(server, unique)})
    yield made
    made.do(emptied)
    asyncio.run(schema.__aexit__(None, None, None))


async def anext_of(manager: Any) -> str:
    """Enter a context."""
    return str(await manager.__aenter__())


async def emptied(archive: Archive) -> None:
    """Remove all objects."""
    for stat in [stat async for stat in archive.objects.list()]:
        await archive.objects.delete(stat.key)


def answering(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Answer the command's question."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{answer}\n"))


# --- status ---


def test_of_an_empty_archive_the_tables_are_empty(place: Place) -> None:
    found = place("status")
    assert found.text.count("| Topic ") == 3
    assert "|     0 |" in found.text or "| 0     |" in found.text
    assert place("parked").lines == []
    assert place("parked --json").json == []
    assert place("status --json").json["newest_ms"] is None


@LAYOUTS
def test_status_shows_topics_with_separators_totals_and_the_newest_rows(place: Place, layout: str) -> None:
    rows = place.fill(layout, messages=3)
    place.fill(layout, topic="zz.other", messages=2)

    lines = place("status").lines

    assert lines[0] == "since start of archiving"
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "Topic",
        "n messages",
        "bytes stored",
        "sample uuid",
        "earliest (UTC)",
        "latest(UTC)",
    ]
    assert [line.split("|")[1].strip() for line in lines[4:6]] == [TOPIC, "zz.other"]
    size = sum(row.size for row in rows)
    assert [cell.strip() for cell in lines[4].split("|")[2:4]] == ["3", f"{size:,}"]
    total = [cell.strip() for cell in lines[7].split("|")[1:5]]
    assert (total[0], total[1], total[3]) == ("2", "5", "total")
    assert "last 24 hours" in lines
    assert "last hour" in lines
    assert "2023-11-14T22:13:20.125+00:00" in lines
    assert str(rows[2].uuid) in place("status").text

    found = place("status --json").json
    assert [period["messages"] for period in found["periods"]] == [5, 0, 0]
    assert found["newest_ms"] == TIME_MS + 2


# --- audits ---


@LAYOUTS
def test_verify_says_of_every_message_how_it_is(place: Place, layout: str) -> None:
    rows = place.fill(layout)
    found = place("verify --all --crc")
    assert found.lines[-1] == "0 anomalous of 4"
    keys = [f"{row.key} {row.uuid}" if layout == "packs" else row.key for row in rows]
    assert sorted(found.lines[:-1]) == sorted(f"** key is ok, {key}" for key in keys)
    assert place("verify").lines[-1] == "0 anomalous of 4"

    place.do(lambda archive: flip_bit(archive.objects, rows[1]))
    found = place("verify --all --crc", code=1)
    assert found.lines[-1] == "1 anomalous of 4"
    (line,) = [line for line in found.lines if line.startswith("** damaged ***")]
    assert line.startswith(f"** damaged ***, {keys[1]} (CRC-32 ")
    found = place("verify --all --crc --json", code=1)
    assert '"result":"damaged"' in found.lines[0]
    assert found.lines[1] == '{"anomalous":1,"checked":4}'

    place.do(lambda archive: cut(archive.objects, rows[3].key, (rows[3].pack_offset or 0) + 10))
    assert any(line.startswith("** size mismatch, ") for line in place("verify -a", code=1).lines)
    place.do(lambda archive: archive.objects.delete(rows[0].key))
    lines = place("verify -a", code=1).lines
    assert f"** object does not exist ***, {keys[0]}" in lines


def test_objects_nobody_describes_are_named(place: Place) -> None:
    place.fill()
    assert place("audit-store").lines == ["0 anomalous of 4"]
    key = f"archive/{TOPIC}/2024/3/1/0/{uuid4()}.bson"
    place.do(lambda archive: archive.objects.put(key, b"left by a crash"))
    # One that young is looked for to the end, and told all the same.
    for words in ("audit-store", f"audit-store --topic {TOPIC} --month 2024/3"):
        assert f"{key} has no row *** (15 bytes)" in place(words, code=1).lines
    assert place("audit-store --month 2023").lines == ["0 anomalous of 4"]
    assert '"fault":"no row"' in place("audit-store --json", code=1).text
    place("audit-store --month March", code=2)


# --- single messages ---


@LAYOUTS
def test_inspect_shows_and_writes_a_message(place: Place, layout: str, tmp_path: Path) -> None:
    rows = place.fill(layout)
    row = rows[1]
    text = place(f"inspect {row.uuid} --write").text
    for shown in (row.key, str(row.size), "layout       2", "b'value 1'", "con_text_uuid", "added_headers"):
        assert shown in text
    assert ("pack_offset" in text) == (layout == "packs")
    written = tmp_path / f"{row.uuid}.bson"
    assert len(written.read_bytes()) == row.size
    assert place(f"inspect {row.uuid} -q").text == ""

    found = place(f"inspect {row.uuid} --json").json
    assert base64.b64decode(found["message"]["$binary"]["base64"]) == b"value 1"
    assert (found["layout"], found["key"], found["problem"]) == (2, row.key, "")


def test_inspect_says_what_is_wrong_and_still_writes_the_bytes(place: Place, tmp_path: Path) -> None:
    row = place.fill()[0]
    place.do(lambda archive: flip_bit(archive.objects, row))
    found = place(f"inspect {row.uuid} -w", code=1)
    assert "damaged: CRC-32" in found.err
    assert len((tmp_path / f"{row.uuid}.bson").read_bytes()) == row.size
    assert "no archived message has the uuid" in place(f"inspect {uuid4()}", code=1).err
    place("inspect not-a-uuid", code=2)


def test_nothing_a_message_holds_reaches_the_terminal_as_it_is(place: Place) -> None:
    headers = [["\x1b]0;title\x07", b"\x1b[2J"], ["\u202eback", b"x"]]
    row = place.do(lambda archive: first_generation(archive, uuid4(), headers))
    out = place(f"inspect {row.uuid}").out
    assert b"\x1b" not in out
    assert "\u202e".encode() not in out
    assert b"\\x1b[2J" in out


@pytest.mark.parametrize("variant", FIRST_GENERATION)
def test_the_first_generations_layout_is_named(place: Place, variant: str) -> None:
    headers, key = FIRST_GENERATION[variant]
    row = place.do(lambda archive: first_generation(archive, uuid4(), headers, key=key))
    assert "layout       1" in place(f"inspect {row.uuid}").text
    assert place(f"inspect {row.uuid} --json").json["layout"] == 1
    assert place("verify --all --crc").lines[-1] == "0 anomalous of 1"


def test_uuids_are_printed_one_a_line_and_questions_change_nothing(place: Place) -> None:
    rows = place.fill()
    wanted = [str(row.uuid) for row in rows]
    where = f"where topic = '{TOPIC}' order by timestamp"
    assert place("uuids", where).lines == wanted
    assert place("uuids --json", where).json == wanted
    refused = place("uuids", "where true; delete from messages", code=2)
    assert "semicolon" in refused.err
    place("uuids", "where nonsense", code=2)
    assert place("uuids", where).lines == wanted


# --- tidying ---


@LAYOUTS
def test_topics_are_cleaned_after_a_yes_only(
    place: Place, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fill(layout, topic="demo.test")
    place.fill(layout, topic="demo.kept", messages=1)
    answering(monkeypatch, "n")
    refused = place("clean-tests demo.test", code=1)
    assert "| demo.test |        4 |" in refused.text
    assert place("verify -a").lines[-1] == "0 anomalous of 5"
    answering(monkeypatch, "y")
    place("clean-tests demo.test")
    assert place("verify -a").lines[-1] == "0 anomalous of 1"
    assert place("audit-store").lines[-1] == "0 anomalous of 1"
    place("clean-tests -q demo.kept")
    assert place("audit-store").lines == ["0 anomalous of 0"]


def test_a_protected_archive_refuses_to_delete(headrace: Command) -> None:
    place = Place(headrace, {})
    place.fill()
    protected = Place(headrace, {"archive.protected": "true"})
    assert "protected" in protected("clean-tests -q", TOPIC, code=1).err
    assert "protected" in protected("clean-duplicates -q", code=1).err
    protected("clean-duplicates -c")
    assert place("verify -a").lines[-1] == "0 anomalous of 4"


def test_repeated_messages_are_counted_then_deleted_after_a_yes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def repeat(archive: Archive) -> None:
        await filled(archive, messages=1)
        await filled(archive, topic="b", messages=1)
        (row,) = await filled(archive, first=1, messages=1)
        document = b"".join([chunk async for chunk in await archive.objects.get(row.key)])
        document = document.replace(b"value 1", b"value 0")
        await archive.objects.put(row.key, document)
        await change_row(
            archive.database,
            row,
            timestamp=TIME_MS,
            crc32=zlib.crc32(document),
            message_crc32=zlib.crc32(b"value 0"),
        )

    place.do(repeat)
    lines = place("clean-duplicates --count-only").lines
    assert lines[:2] == ["uuid test:", "server side test:"]
    assert lines[2].endswith(f", {TIME_MS}, 2)")
    assert lines[3] == "1 rows may repeat an older one, in 1 groups"
    answering(monkeypatch, "n")
    place("clean-duplicates", code=1)
    assert place("clean-duplicates -q").lines[-1] == "deleted 1 rows, 1 objects"
    assert place("clean-duplicates -q").lines[-1] == "0 rows may repeat an older one, in 0 groups"
    assert place("verify -a").lines[-1] == "0 anomalous of 2"


def test_migrate_says_from_where_to_where(place: Place) -> None:
    found = place("migrate").lines
    assert found[0] == "before: none"
    newest = found[1].removeprefix("after:  ")
    assert newest.isdigit()
    assert place("migrate").lines == [f"before: {newest}", f"after:  {newest}"]


# --- moving ---


@LAYOUTS
def test_messages_are_played_back_and_compared(place: Place, layout: str, tmp_path: Path) -> None:
    place.fill(layout)
    place.fill(layout, topic="other", messages=1)
    words = f"restore --topic {TOPIC} --dest-topic {{topic}}.again --verify --journal {tmp_path}/journal"

    found = place(f"{words} --dry-run")
    assert found.lines[0] == "4 of 4 messages would be sent to embedded:"
    found = place(words)
    assert found.lines[0] == "4 of 4 messages sent to embedded:"
    assert found.lines[1].split("\t")[:3] == [f"{TOPIC}.again", "2", "4"]
    assert found.lines[-1] == "equal"
    report = place(f"{words} --json").json
    assert (report["complete"], report["sent"], report["sent_now"]) == (True, 4, 0)


@pytest.mark.kafka
def test_many_messages_are_played_back_to_kafka_by_several_processes(
    place: Place, tmp_path: Path, kafka_address: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fill("packs")
    place.fill(topic="other", messages=1)
    monkeypatch.setattr(limits_archive, "RESTORE_SHARE_MESSAGES", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    words = f"restore --destination kafka://{kafka_address} --dest-topic {unique}.{{topic}} --json"

    report = place(f"{words} --verify --journal {tmp_path}/journal").json

    assert (report["complete"], report["sent_now"], report["verified"]["equal"]) == (True, 5, True)
    assert [each["topic"] for each in report["delivered"]] == [f"{unique}.{TOPIC}", f"{unique}.other"]
    assert sorted(each.name for each in tmp_path.glob("journal.*")) == ["journal.1", "journal.2"]
    asyncio.run(remove_topics(kafka_address, unique))


@pytest.mark.parametrize("option", ["--from yesterday", "--uuid x", "--rate -1", "--order none"])
def test_a_restore_that_makes_no_sense_is_refused(place: Place, option: str) -> None:
    place(f"restore {option}", code=2)


def test_a_restore_chooses_by_time_and_uuid(place: Place) -> None:
    rows = place.fill()
    found = place(f"restore --from {TIME_MS + 1} --to 2023-11-14T22:13:20.126 --dry-run --json").json
    assert found["selected"] == 2
    found = place(f"restore --uuid {rows[0].uuid} --dry-run --json").json
    assert found["selected"] == 1


def test_messages_are_moved_into_packs_and_back_and_stay_whole(place: Place) -> None:
    place.fill(messages=6)
    place.fill(topic="other", messages=1)
    found = place(f"repack --topic {TOPIC} --dry-run --json").json
    assert (found["messages"], found["objects_before"]) == (6, 6)
    assert place("audit-store").lines == ["0 anomalous of 7"]

    assert place(f"repack --topic {TOPIC}").lines[0].startswith("6 messages moved, from 6 objects to 1, ")
    assert place("verify -a --crc").lines[-1] == "0 anomalous of 7"
    assert place("audit-store").lines == ["0 anomalous of 2"]

    assert place("repack --to objects").lines[0].startswith("6 messages moved, from 1 objects to 6, ")
    assert place("verify -a --crc").lines[-1] == "0 anomalous of 7"
    assert place("audit-store").lines == ["0 anomalous of 7"]
    assert place(f"clean-tests -q {TOPIC}").code == 0
    assert place("audit-store").lines == ["0 anomalous of 1"]


def test_texts_are_made_for_messages_of_searched_topics(headrace: Command, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[[topic]]\nname = "{TOPIC}"\narchivable = true\nindex_archived_text = true\n')
    place = Place(headrace, {"archive.policy": "file", "archive.policy_file": str(policy)})
    place.fill("packs")
    place.fill(topic="other")
    assert place("reindex").lines == ["4 of 4 messages have a text now, 4 all of it"]
    assert place("reindex --json").json["indexed"] == 0
    assert place("reindex --topic other --from 2023-01-01").lines[0].startswith("0 of 0")


def test_a_backup_is_a_part_that_is_checked(headrace: Command, tmp_path: Path) -> None:
    backup = f"archive.backup=folder://{tmp_path}/backup"
    text = headrace.plain("-s", f"data={headrace.data}", "-s", backup, "config", "check").text
    assert f"archive.backup folder://{tmp_path}/backup" in text
    place = Place(headrace, {"archive.backup": f"folder://{tmp_path}/backup"})
    row = place.fill(messages=2)[0]
    (tmp_path / "backup" / row.key).unlink()
    found = place("verify -a", code=1)
    assert f"** object does not exist ***, {row.key} (in the backup)" in found.lines
