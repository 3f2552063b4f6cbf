"""Events that are none, or not what they say: each is parked with its reason, and the next one is processed."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from pipeline import limits
from pipeline.app import Parts
from pipeline.errors import NotFound, TooLarge
from pipeline.events.parked import ParkedEntry, decode_parked
from pipeline.events.task import TaskEvent
from pipeline.events.topics import PARKED, TASK, binary_topic, system_topic
from pipeline.index.query import Query, Term
from pipeline.log.port import NewRecord, Record
from pipeline.objects.keys import stream_key
from pipeline.submission import submit
from tests.agents.installation import installation, records_of, settings_in, settled, until
from tests.agents.standin import Standin
from tests.events.samples import BINARY, BY_MODEL, changed, without
from tests.holdings import holdings
from tests.processes import environment, run
from tests.seeds import seeded

AGENTS = ("enrich", "track", "index", "archive")
SOURCE = "testing"
SHA256 = hashlib.sha256(b"poison").hexdigest()
MUTATIONS = 300
SOUND = changed(changed(BINARY, "entity.sha256", SHA256), "source.path.0.sha256", SHA256)
"""A sourced event as it is stored; there is no object of its hash."""

NO_JSON = (b"", b"{", b"\xff\xfe", b"null", b"[1, 2]", b'"text"', b"[" * 100_000, b'{"a":' * 50_000, b"NaN")
WRONG = (
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


async def parked_in(parts: Parts) -> list[ParkedEntry]:
    """Return every parked entry, as it was last."""
    topic = system_topic(parts.settings.events.prefix, PARKED)
    entries = [decode_parked(record.value or b"") for record in await records_of(parts, topic)]
    return list({entry.id: entry for entry in entries}.values())


async def content(parts: Parts, entry: ParkedEntry) -> bytes:
    """Return the value that was parked."""
    return b"".join([chunk async for chunk in await parts.objects.get(entry.object_key)])


@pytest.mark.timeout(300)
async def test_no_event_stops_the_next_one(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, AGENTS, tasks={"scan_interval_seconds": 0.2})
    sent: dict[tuple[str, int], bytes | None] = {}
    with capture_logs() as logged:
        async with installation(settings) as (parts, agents):
            prefix = settings.events.prefix
            names = [
                binary_topic(prefix, SOURCE, action) for action in ("sourced", "extracted", "enriched")
            ]
            names += [
                system_topic(prefix, name)
                for name in ("status", "plugin", "download", "expedite", TASK, PARKED)
            ]
            for topic in names:
                records = [
                    NewRecord(topic, b"%d" % number, value)
                    for number, value in enumerate([None, *values()])
                ]
                records.append(
                    NewRecord(topic, b"\xff\0", b"{", (("_id", b"short"), ("", None), ("\u20ac", b"\xff")))
                )
                for place, record in zip(await parts.log.append(records), records, strict=True):
                    sent[place.topic, place.offset] = record.value
            good = await submit(parts, b"good", source_name=SOURCE)
            await settled(agents)
            await parts.index.refresh()
            page = await parts.index.search("binary2", Query(Term("sha256", (good.sha256,))))
            assert {hit.body.get("action", "") for hit in page.hits} == {"", "sourced", "enriched"}
            entries = await parked_in(parts)
            for entry in entries:
                assert entry.reason
                assert entry.error
                assert await content(parts, entry) == (sent[entry.topic, entry.offset] or b"")
            await _everything_was_refused(parts, entries, names)
            held = await holdings(parts, SOURCE)
            assert held.rows == held.archived_events == held.archive_objects
    assert [line for line in logged if line["event"] == "agent starts again"] == []


async def _everything_was_refused(parts: Parts, entries: list[ParkedEntry], topics: list[str]) -> None:
    """Fail unless what is no JSON was parked by every agent that reads events from its topic."""
    readers = {"index": ("sourced", "extracted", "enriched", "status", "plugin", "download", "expedite")}
    readers |= {"enrich": ("sourced", "extracted", "expedite"), "track": ("status", "plugin", TASK, PARKED)}
    by_place = {(entry.agent, entry.topic, entry.offset) for entry in entries}
    for topic in topics:
        for agent, ends in readers.items():
            if topic.endswith(ends):
                missing = [n for n in range(1, len(NO_JSON) + 1) if (agent, topic, n) not in by_place]
                assert missing == [], (agent, topic)
    del parts
