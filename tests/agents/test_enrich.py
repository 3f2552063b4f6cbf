"""Agent enrich, through topics: what a worker that died had published is not published again."""

from __future__ import annotations

from pathlib import Path

import msgspec

from agents import enrich
from pipeline.app import Parts, make_parts, open_parts
from pipeline.events.codec import decode_stored, encode
from pipeline.events.models import BinaryEvent
from pipeline.events.records import record_of
from pipeline.events.topics import binary_topic
from pipeline.hub.changelogs import app_id
from pipeline.identify.enrichment import enriched_outline
from pipeline.log.port import NewRecord, TopicPartition
from pipeline.objects.keys import stream_key
from pipeline.submission import submit
from tests.agents.installation import installation, parked_entries, records_of, settings_in, settled
from tests.holdings import times_published

SOURCE = "testing"
EVENTS = 50


async def submitted(parts: Parts, number: int) -> BinaryEvent:
    """Submit a file; return its event."""
    place = (await submit(parts, b"file %d" % number, source_name=SOURCE)).event
    record = (await records_of(parts, place.topic))[place.offset]
    event = decode_stored("binary", record.value)
    assert isinstance(event, BinaryEvent)
    return event


async def test_an_answer_that_was_published_and_not_acknowledged_is_not_given_again(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, ["enrich"])
    async with open_parts(make_parts(settings)) as parts:
        events = [await submitted(parts, number) for number in range(EVENTS)]
        # A worker died here: it had answered every second event and acknowledged none.
        answers = [record_of(settings.events.prefix, enriched_outline(event)) for event in events[::2]]
        await parts.log.append(answers)
    async with installation(settings) as (parts, agents):
        await settled(agents)
        times = await times_published(parts, SOURCE, "enriched")
    keys = {record_of(settings.events.prefix, enriched_outline(event)).key for event in events}
    assert times == dict.fromkeys(keys, 1)


async def test_an_event_submitted_again_is_answered_again(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, ["enrich"])
    async with installation(settings) as (parts, agents):
        event = await submitted(parts, 1)
        await settled(agents)
        # The very same event again, later: somebody wants to know what is found out about it by now.
        await parts.log.append([record_of(settings.events.prefix, event)])
        await settled(agents)
        assert list((await times_published(parts, SOURCE, "enriched")).values()) == [2]


async def test_an_event_read_again_is_not_answered_again(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, ["enrich"])
    async with installation(settings) as (parts, agents):
        for number in range(EVENTS):
            await submitted(parts, number)
        await settled(agents)
    async with open_parts(make_parts(settings)) as parts:
        place = TopicPartition(binary_topic(settings.events.prefix, SOURCE, "sourced"), 0)
        await parts.log.commit(app_id(settings.events.prefix, enrich.NAME), {place: 0})
    async with installation(settings) as (parts, agents):
        await settled(agents)
        assert set((await times_published(parts, SOURCE, "enriched")).values()) == {1}


async def test_an_event_of_a_source_that_is_gone_is_parked_and_stops_nothing(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, ["enrich"])
    async with installation(settings) as (parts, agents):
        topic = binary_topic(settings.events.prefix, SOURCE, "sourced")
        event = await submitted(parts, 1)
        gone = msgspec.structs.replace(event, source=msgspec.structs.replace(event.source, name="gone"))
        await parts.objects.copy(
            *(stream_key(name, "content", event.entity.sha256) for name in (SOURCE, "gone"))
        )
        await parts.log.append([NewRecord(topic, b"k", encode(gone))])
        await submitted(parts, 2)
        await settled(agents)
        assert len(await times_published(parts, SOURCE, "enriched")) == 2
        [entry] = await parked_entries(parts)
        assert entry.reason == "NotFound"
