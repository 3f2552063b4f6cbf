"""Events that are none, or not what they say: each is parked with its reason, the next one is processed."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import limits
from pipeline.app import Parts, make_parts, open_parts
from pipeline.errors import TooLarge
from pipeline.events.parked import ParkedEntry
from pipeline.events.task import TaskEvent
from pipeline.events.topics import PARKED, TASK, binary_topic, system_topic
from pipeline.index.query import Query, Term
from pipeline.log.port import NewRecord
from pipeline.objects.keys import stream_key
from pipeline.submission import submit
from tests.agents.installation import (
    AGENTS,
    installation,
    parked_entries,
    records_of,
    settings_in,
    settled,
    until,
)
from tests.agents.standin import Standin
from tests.events.samples import BINARY, BY_MODEL, changed, without
from tests.faults.service import Service, service
from tests.holdings import holdings
from tests.seeds import seeded

SOURCE = "testing"
SHA256 = hashlib.sha256(b"poison").hexdigest()
SYSTEM = ("status", "plugin", "download", "expedite")
READERS = {
    "index": ("sourced", "extracted", "enriched", *SYSTEM),
    "enrich": ("sourced", "extracted", "expedite"),
    "track": ("status", "plugin", TASK, PARKED),
}
HEADERS = (("_id", b"short"), ("", None), ("\u20ac", b"\xff"))
MUTATIONS = 300
SOUND = changed(changed(BINARY, "entity.sha256", SHA256), "source.path.0.sha256", SHA256)
"""A sourced event as it is stored; there is no object of its hash."""

NO_JSON = (b"{", b"\xff\xfe", b"null", b"[1, 2]", b'"text"', b"[" * 100_000, b'{"a":' * 50_000, b"NaN")
WRONG: tuple[dict[str, Any], ...] = (
    {},
    {"model": "dancing", "entity": {}},
    BY_MODEL["status"],
    BY_MODEL["retrohunt"],
    changed(SOUND, "model_version", 1),
    changed(SOUND, "model_version", 99),
    changed(SOUND, "model_version", "six"),
    changed(SOUND, "entity.sha256", "../../../etc/passwd"),
    changed(SOUND, "entity.sha256", "Z" * 64),
    changed(SOUND, "entity.size", -1),
    changed(SOUND, "entity.size", 10**30),
    changed(SOUND, "entity.datastreams", [{"label": "content"}] * (limits.DATASTREAMS_PER_EVENT + 1)),
    changed(SOUND, "entity.features", "many"),
    changed(SOUND, "source.name", "unknown-source"),
    changed(SOUND, "source.name", "../up"),
    changed(SOUND, "source.path", []),
    changed(SOUND, "source.references", {"key": {"nested": []}}),
    changed(SOUND, "timestamp", "yesterday"),
    changed(SOUND, "timestamp", "99999-01-01T00:00:00Z"),
    changed(SOUND, "source.timestamp", 17),
    changed(SOUND, "action", "dancing"),
    changed(SOUND, "author", None),
    without(SOUND, "source"),
    without(SOUND, "entity"),
)
STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**64,
    1e308,
    "",
    "\0",
    "x" * 5000,
    "\ud800",
    [],
    [[]],
    {},
    {"": 0},
)


def values() -> list[bytes]:
    """Return what is put on the topics: no JSON, wrong events, and sound ones with one thing changed."""
    chance = seeded(41)
    mutated = [json.dumps(mutation(chance)).encode() for _ in range(MUTATIONS)]
    return [*NO_JSON, *(json.dumps(event).encode() for event in WRONG), *mutated]


def mutation(chance: random.Random) -> dict[str, Any]:
    """Return an event of any model with a member replaced by something strange, or removed."""
    event = chance.choice([SOUND, *BY_MODEL.values()])
    path = chance.choice(sorted(paths(event)))
    if chance.randrange(4) == 0 and not path[-1].isdigit():
        return without(event, path)
    return changed(event, path, chance.choice(STRANGE))


def paths(value: Any, above: str = "") -> Iterator[str]:
    """Yield the dotted path of every member."""
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, member in members:
        yield f"{above}{name}"
        yield from paths(member, f"{above}{name}.")


async def content(parts: Parts, entry: ParkedEntry) -> bytes:
    """Return the value that was parked."""
    return b"".join([chunk async for chunk in await parts.objects.get(entry.object_key)])


@pytest.mark.timeout(300)
async def test_no_event_stops_the_next_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_in(tmp_path, AGENTS, tasks={"scan_interval_seconds": 0.2})
    prefix = settings.events.prefix
    topics = [binary_topic(prefix, SOURCE, action) for action in ("sourced", "extracted", "enriched")]
    topics += [system_topic(prefix, name) for name in (*SYSTEM, TASK, PARKED)]
    poison = values()
    sent: dict[tuple[str, int], bytes | None] = {}
    async with installation(settings) as (parts, agents):
        for topic in topics:
            records = [NewRecord(topic, b"%d" % n, value) for n, value in enumerate(poison)]
            records += [NewRecord(topic, b"\xff\0", b"{", HEADERS), NewRecord(topic, b"none", None)]
            for place, record in zip(await parts.log.append(records), records, strict=True):
                sent[place.topic, place.offset] = record.value
        good = await submit(parts, b"good", source_name=SOURCE)
        await settled(agents)
        page = await parts.index.search("binary2", Query(Term("sha256", (good.sha256,))))
        assert {hit.body["action"] for hit in page.hits} == {"sourced", "enriched"}
        entries = await parked_entries(parts)
        for entry in entries:
            assert entry.reason
            assert entry.error
            assert await content(parts, entry) == (sent[entry.topic, entry.offset] or b"")
        refused = {(entry.agent, entry.topic, entry.offset) for entry in entries}
        for agent, topic in ((agent, topic) for agent in READERS for topic in topics):
            if topic.endswith(READERS[agent]):
                # Not the first offsets of each: the agents put entries on the parked topic meanwhile.
                offsets = {
                    offset for (name, offset), value in sent.items() if name == topic and value in NO_JSON
                }
                assert len(offsets) >= len(NO_JSON)
                assert {(agent, topic, offset) for offset in offsets} <= refused
        held = await holdings(parts, SOURCE)
        assert held.rows == held.archived_events == held.archive_objects
    # An agent that fell over one of them would have been started again, for ever.
    assert [line for line in caplog.messages if "started again" in line or "Crashed" in line] == []


@pytest.mark.parametrize(
    "event", [b"null", b"7", b"{}", b'"%s"' % (b"x" * 3_000_000)], ids=("null", "number", "empty", "large")
)
async def test_a_task_that_could_never_be_given_back_is_parked_when_it_is_taken(
    tmp_path: Path, event: bytes
) -> None:
    quick = {"lapse_seconds": 0.2, "scan_interval_seconds": 0.1, "backoff_seconds": [0.0]}
    async with installation(settings_in(tmp_path, ["track"], tasks=quick)) as (parts, _):
        name = f"{0:032x}.plug.1.0.1700000000"
        taken = TaskEvent(
            kind="dequeued",
            dequeued=name,
            task=name,
            timestamp=0.0,
            plugin="plug",
            version="1.0",
            event=msgspec.Raw(event),
        )
        topic = system_topic(parts.settings.events.prefix, TASK)
        await parts.log.append([NewRecord(topic, name.encode(), taken.encode())])
        good = Standin(parts, "plug")
        [sound] = await good.take([f"{1:032x}"])

        async def offered() -> bool:
            return [retry.previous for retry in await good.offered()] == [sound]

        await until(offered)
        [entry] = await parked_entries(parts)
        assert (entry.agent, entry.offset) == ("track", 0)


@pytest.mark.timeout(240)
async def test_a_parked_record_is_processed_when_it_is_replayed_after_its_cause_is_gone(
    tmp_path: Path,
) -> None:
    data = b"bytes that come late"
    settings = settings_in(tmp_path / "data", AGENTS)
    async with open_parts(make_parts(settings)) as parts:
        sha256 = (await submit(parts, data, source_name=SOURCE)).sha256
        await parts.objects.delete(stream_key(SOURCE, "content", sha256))
        topic = binary_topic(settings.events.prefix, SOURCE, "sourced")
        await parts.log.append([NewRecord(topic, b"key", b"{")])
    async with service(tmp_path) as running:
        await listed(running, {"NotFound": 1, "EventCorrupt": 2})
        assert await running.actions(sha256) == ["sourced"]
        # The cause of one of them goes away, that of the others does not.
        await running.submit(data, source="scan")
        objects = tmp_path / "data" / "objects"
        shutil.copytree(objects / "scan" / "content", objects / SOURCE / "content", dirs_exist_ok=True)
        replayed = running.command("parked", "replay", "--all", "--json").splitlines()
        assert len(replayed) == 3
        # Each of the two agents that refuse the record sees it twice: everyone reads what is replayed.
        await listed(running, {"EventCorrupt": 4})

        async def enriched() -> bool:
            line = await running.json(f"/api/where/{sha256}")
            return topic.replace("sourced", "enriched") in {record["topic"] for record in line["records"]}

        await until(enriched)


async def listed(running: Service, reasons: dict[str, int]) -> None:
    """Return when so many entries are parked, by reason."""

    async def are_listed() -> bool:
        return Counter(entry["reason"] for entry in await running.parked()) == reasons

    await until(are_listed)


async def test_an_event_above_the_limit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    async with open_parts(make_parts(settings_in(tmp_path, AGENTS))) as parts:
        topic = system_topic(parts.settings.events.prefix, "status")
        small, large = (NewRecord(topic, b"k", b"x" * size) for size in (10, limits.RECORD_MAX_BYTES))
        with pytest.raises(TooLarge, match=str(limits.RECORD_MAX_BYTES)):
            await parts.log.append([small, large])
        assert await records_of(parts, topic) == []
