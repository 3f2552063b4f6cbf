"""headrace reprocess: what another prefix holds arrives once, upgraded, where it belongs, or is counted."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import signal
import socket
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.clock import ManualClock
from pipeline.errors import Unavailable
from pipeline.events.avro import encode_avro
from pipeline.events.codec import decode_posted, decode_stored, encode
from pipeline.events.models import BinaryEvent, Event
from pipeline.events.records import completed
from pipeline.hub.reprocess import Reprocessor, Selection, group_of
from pipeline.limits import REPROCESS_PAUSE_SECONDS
from pipeline.log.connection import KafkaConnection
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.kafka import KafkaLog
from pipeline.log.port import Log, NewRecord, Record, TopicPartition, TopicSpec
from tests.cli.command import Command
from tests.events.samples import BINARY, BY_MODEL, DELETE, body, changed
from tests.processes import Process, environment, until

SOURCED = "testing.binary.sourced"
HOUR_AGO_MS = int((time.time() - 3600) * 1000)
"""When records were written: copies keep the time, and what is older than its topic keeps is removed."""
EXPEDITED = changed(BINARY, "flags", {"expedite": True})


@dataclass
class Field:
    """A log with an old prefix and a new one, and the command that works on it."""

    headrace: Command
    options: list[str]
    open: Callable[[], Log]
    old: str
    new: str

    def prepare(self, work: Callable[[Log], Awaitable[Any]]) -> Any:
        """Do something to the log, and close it again."""

        async def run() -> Any:
            log = self.open()
            await log.open()
            try:
                return await work(log)
            finally:
                await log.close()

        return asyncio.run(run())

    def fill(self, values: Mapping[str, Iterable[bytes | None]]) -> None:
        """Append values to topics of the old prefix, making the topics with two partitions."""

        async def append(log: Log) -> None:
            names = {rest: f"azul.{self.old}.{rest}" for rest in values}
            await log.create_topics([TopicSpec(name, 2) for name in names.values()])
            await log.append(
                [
                    NewRecord(
                        names[rest], b"old%d" % n, value, (("a", b"1"),), timestamp_ms=HOUR_AGO_MS + n
                    )
                    for rest, each in values.items()
                    for n, value in enumerate(each)
                ]
            )

        self.prepare(append)

    def copied(self, *rest: str) -> dict[str, list[Record]]:
        """Return what topics of the new prefix hold."""

        async def read(log: Log) -> dict[str, list[Record]]:
            return {each: await records(log, f"azul.{self.new}.{each}") for each in rest}

        found: dict[str, list[Record]] = self.prepare(read)
        return found

    def run(self, *arguments: str, code: int = 0) -> Any:
        """Run the command and return its result."""
        result = self.headrace.plain(
            *self.options, "reprocess", "--from-prefix", self.old, *arguments, "--json", code=code
        )
        return result if code else result.json


async def records(log: Log, topic: str) -> list[Record]:
    places = [TopicPartition(topic, n) for n in range((await log.topics())[topic])]
    bounds = await log.bounds(places)
    reader = log.reader({place: there.start for place, there in bounds.items()})
    found: list[Record] = []
    try:
        while any(reader.positions()[place] < there.end for place, there in bounds.items()):
            found += await reader.read(max_records=1000, wait_seconds=5)
    finally:
        await reader.close()
    return found


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def field(request: pytest.FixtureRequest, headrace: Command, unique: str) -> Field:
    old, new = f"{unique}old", f"{unique}new"
    options = ["-s", f"data={headrace.data}", "-s", f"events.prefix={new}"]
    if request.param == "embedded":
        return Field(headrace, options, lambda: EmbeddedLog(headrace.data / "log"), old, new)
    address = request.getfixturevalue("kafka_address")
    options += ["-s", f"log=kafka://{address}"]
    connection = KafkaConnection(bootstrap_servers=(address,))
    return Field(headrace, options, lambda: KafkaLog(connection), old, new)


@pytest.fixture
def embedded(headrace: Command) -> Field:
    options = ["-s", f"data={headrace.data}", "-s", "events.prefix=new"]
    return Field(headrace, options, lambda: EmbeddedLog(headrace.data / "log"), "old", "new")


def event(sample: dict[str, Any], model: str = "binary") -> Event:
    (posted,) = decode_posted(model, body(sample)).events
    return completed(posted, bytes)


def json_of(sample: dict[str, Any], model: str = "binary", **fields: Any) -> bytes:
    """Return the stored JSON of an event, with some top-level fields as another version had them."""
    return json.dumps({**json.loads(encode(event(sample, model))), **fields}).encode()


def other(number: int, **fields: Any) -> dict[str, Any]:
    """Return a binary event of its own."""
    return {**changed(BINARY, "source.references", {"n": str(number)}), **fields}


def test_every_encoding_arrives_upgraded_under_its_computed_key(field: Field) -> None:
    field.fill(
        {
            SOURCED: [
                encode_avro(event(other(1))),
                json_of(other(2), model_version=4, file_format_legacy="PE"),
                json_of(other(3)),
            ],
            "testing.binary.enriched": [],
        }
    )

    told = field.run("--sources")

    assert told == {"copied": {f"azul.{field.old}.{SOURCED}": 3}, "skipped": {}}
    found = {record.key: record for record in field.copied(SOURCED)[SOURCED]}
    wanted = {event(other(n)).kafka_key.encode(): event(other(n)) for n in (1, 2, 3)}
    assert {key: decode_stored("binary", record.value) for key, record in found.items()} == wanted
    assert {record.headers for record in found.values()} == {(("a", b"1"),)}
    assert {record.timestamp_ms for record in found.values()} == {HOUR_AGO_MS + n for n in range(3)}


def test_what_cannot_be_read_is_counted_and_keeps_nothing_from_arriving(field: Field) -> None:
    good = [json_of(other(n)) for n in range(3)]
    bad = [
        b"",
        b"junk",
        b"{",
        b"\x08",
        json_of(other(9), model_version=7),
        json_of(other(9), model_version=1),
    ]
    field.fill({SOURCED: [bad[0], good[0], *bad[1:4], None, good[1], *bad[4:], good[2]]})
    topic = f"azul.{field.old}.{SOURCED}"

    result = field.headrace.plain(
        *field.options, "reprocess", "--from-prefix", field.old, "--sources", "--json"
    )

    assert result.json == {"copied": {topic: 3}, "skipped": {topic: 5}}
    assert result.err.count("record is not copied") == 5
    assert len(field.copied(SOURCED)[SOURCED]) == 3
    # What can only be read with --legacy-json was passed by; a later run does not come back to it.
    assert field.run("--sources", "--legacy-json") == {"copied": {}, "skipped": {}}


def test_a_second_run_copies_only_what_is_new(field: Field) -> None:
    field.fill({SOURCED: [json_of(other(n)) for n in range(5)]})
    topic = f"azul.{field.old}.{SOURCED}"
    assert field.run("--sources")["copied"] == {topic: 5}
    assert field.run("--sources")["copied"] == {}
    field.fill({SOURCED: [json_of(other(n)) for n in range(5, 7)]})
    assert field.run("--sources")["copied"] == {topic: 2}
    assert len(field.copied(SOURCED)[SOURCED]) == 7


def test_events_go_where_their_flags_say_now(field: Field) -> None:
    field.fill({"system.expedite": [json_of(EXPEDITED), json_of(other(1))], SOURCED: [json_of(other(2))]})
    field.run("--system")
    found = field.copied("system.expedite", SOURCED)
    assert [len(each) for each in found.values()] == [1, 1]
    assert decode_stored("binary", found[SOURCED][0].value) == event(other(1))


# --- on the embedded log alone: what does not depend on the log ---


def test_system_topics_are_those_included_that_hold_events(embedded: Field) -> None:
    avro = encode_avro(event(DELETE, "delete"))
    samples = {model: json_of(sample, model) for model, sample in BY_MODEL.items() if model != "binary"}
    field = embedded
    field.fill(
        {
            "system.delete": [b"\x08" + avro[1:], b"\x0a" + avro[1:], avro],
            "system.insert": [samples["insert"]],
            "system.plugin": [samples["plugin"]],
            "system.error": [json_of(other(1))],
            "system.task": [b"{}"],
        }
    )
    assert field.run("--system")["copied"] == {"azul.old.system.delete": 3, "azul.old.system.insert": 1}
    named = ("plug", "error", "task", "delete")
    told = field.run("--system", *(word for name in named for word in ("--include-system", name)))
    assert told == {"copied": {"azul.old.system.plugin": 1}, "skipped": {}}
    deleted = field.copied("system.delete")["system.delete"]
    assert len({record.key for record in deleted}) == 3
    for record in deleted:
        found = decode_stored("delete", record.value)
        assert found is not None
        assert found.model_version == 6


def test_a_denied_topic_is_never_read(embedded: Field) -> None:
    embedded.fill({SOURCED: [json_of(other(1))], "testing.binary.mapped": [json_of(other(2))]})
    told = embedded.run("--sources", "--deny", f"azul.old.{SOURCED}")
    assert told["copied"] == {"azul.old.testing.binary.mapped": 1}


def test_json_older_than_every_version_is_taken_only_when_asked_for(embedded: Field) -> None:
    old = {**json.loads(json_of(other(1))), "track_links": None}
    del old["model_version"]
    embedded.fill({SOURCED: [json.dumps(old).encode()]})
    told = embedded.run("--sources", "--legacy-json")
    assert told == {"copied": {f"azul.old.{SOURCED}": 1}, "skipped": {}}
    (record,) = embedded.copied(SOURCED)[SOURCED]
    assert decode_stored("binary", record.value) == event(other(1))


def test_deletions_by_link_still_find_what_was_posted_in_another_zone(embedded: Field) -> None:
    path = [
        BINARY["source"]["path"][0],
        {**BINARY["source"]["path"][0], "sha256": "bb", "timestamp": "2026-11-01T10:20:30+05:30"},
    ]
    posted = event(changed(BINARY, "source.path", path))
    assert isinstance(posted, BinaryEvent)
    assert "+05_00" in posted.track_links[0]
    embedded.fill({SOURCED: [encode(posted)]})
    embedded.run("--sources")
    (record,) = embedded.copied(SOURCED)[SOURCED]
    found = decode_stored("binary", record.value)
    assert found is not None
    assert found.track_links == posted.track_links


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--from-prefix", "old"), "either"),
        (("--from-prefix", "old", "--sources", "--system"), "either"),
        (("--from-prefix", "new", "--sources"), "the current prefix"),
        (("--sources",), "the current prefix"),
        (("--from-prefix", "nobody", "--sources"), "no topic"),
        (("--from-prefix", "old", "--sources"), "gone"),
        (("--from-prefix", "old", "--system", "--metrics", "nowhere"), "host:port"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_copied(
    embedded: Field, arguments: tuple[str, ...], why: str
) -> None:
    embedded.fill({"gone.binary.sourced": [json_of(other(1))], SOURCED: [json_of(other(2))]})
    refused = embedded.headrace.plain(*embedded.options, "reprocess", *arguments, code=2)
    assert why in refused.err
    embedded.prepare(lambda log: log.create_topics([TopicSpec(f"azul.new.{SOURCED}")]))
    assert embedded.copied(SOURCED) == {SOURCED: []}


def test_the_settings_stand_in_for_the_options(embedded: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.fill({SOURCED: [json_of(other(1))]})
    monkeypatch.setenv("DP__EVENTS__REPROCESS__PREVIOUS_PREFIX", "old")
    monkeypatch.setenv("DP__EVENTS__REPROCESS__UPGRADE_SOURCES", "true")
    told = embedded.headrace.plain(*embedded.options, "reprocess")
    assert told.lines == [f"azul.old.{SOURCED}\t1\t0"]
    assert "1 copied, 0 skipped" in told.err


class _Interrupted(EmbeddedLog):
    """A log that is cut off between what was copied and the commit that says so."""

    async def commit(self, group: str, positions: Mapping[TopicPartition, int]) -> None:
        raise Unavailable(f"commit for {group}", f"cut off before {positions}")


def test_a_run_that_is_cut_off_before_its_commit_makes_the_same_records_again(embedded: Field) -> None:
    embedded.fill({"system.delete": [json_of(DELETE, "delete")] * 3})
    folder, selection = (
        embedded.headrace.data / "log",
        Selection(from_prefix="old", system=True, include_system=("delete",)),
    )

    async def copy(log: Log) -> None:
        await log.open()
        try:
            await log.create_topics([TopicSpec("azul.new.system.delete")])
            with suppress(Unavailable):
                await Reprocessor(log, "new", selection, ManualClock(START), told=lambda _: None).run()
        finally:
            await log.close()

    for log in (_Interrupted(folder), EmbeddedLog(folder)):
        asyncio.run(copy(log))
    found = embedded.copied("system.delete")["system.delete"]
    assert (len(found), len({record.key for record in found})) == (6, 3)


START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


async def test_plugins_are_paused_at_once_and_each_minute_until_it_is_stopped(tmp_path: Path) -> None:
    clock, pauses = ManualClock(START), 0

    async def pause() -> None:
        nonlocal pauses
        pauses += 1

    log = EmbeddedLog(tmp_path / "log")
    await log.open()
    topic = f"azul.old.{SOURCED}"
    await log.create_topics([TopicSpec(topic), TopicSpec(f"azul.new.{SOURCED}")])
    selection = Selection(from_prefix="old", sources=True)
    work = Reprocessor(log, "new", selection, clock, told=lambda _: None, pause=pause)
    following = asyncio.create_task(work.run(follow=True))
    for wanted in (1, 2, 3):
        await log.append([NewRecord(topic, b"k", json_of(other(wanted)))])
        await until(lambda n=wanted: work.tally.copied[topic] == n)
        assert pauses == wanted
        clock.advance(REPROCESS_PAUSE_SECONDS)
        await until(lambda n=wanted: pauses == n + 1 or n < 1)
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    place = TopicPartition(topic, 0)
    assert await log.committed(group_of("new"), [place]) == {place: 3}
    await log.close()


def test_following_ends_well_and_its_metrics_can_be_read_meanwhile(embedded: Field, tmp_path: Path) -> None:
    embedded.fill({SOURCED: [json_of(other(1)), b"junk"]})
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"127.0.0.1:{free.getsockname()[1]}"
    words = [*embedded.options, "reprocess", "--from-prefix", "old", "--sources", "--follow", "--json"]
    process = Process(
        [*words, "--metrics", url], log=tmp_path / "log.txt", environment=environment(tmp_path)
    )

    def told() -> str:
        with urllib.request.urlopen(f"http://{url}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def at_end() -> bool:
        assert process.running, process.told()
        with suppress(OSError):
            return f'reprocessor_eof{{source_topic="azul.old.{SOURCED}"}} 1.0' in told()
        return False

    async def follow() -> None:
        await until(lambda: asyncio.to_thread(at_end))
        counted = await asyncio.to_thread(told)
        assert f'reprocessor_event_count{{source_topic="azul.old.{SOURCED}"}} 1.0' in counted
        process.send(signal.SIGTERM)
        assert await process.ended() == 0, process.told()

    try:
        asyncio.run(follow())
    finally:
        process.kill()
    assert json.loads(process.out.read_text())["copied"] == {f"azul.old.{SOURCED}": 1}
