"""What is known of inserts: by parent, the newest of each key, within a limit."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeline.app import Parts, make_parts, open_parts
from pipeline.clock import ManualClock
from pipeline.errors import TooLarge
from pipeline.events.models import InsertEvent
from pipeline.events.records import completed, record_of
from pipeline.events.topics import system_topic
from pipeline.hub.inserts import Inserts, any_insert
from pipeline.log.port import NewRecord
from tests.agents.installation import settings_in
from tests.events.samples import INSERT, changed
from tests.events.test_keys import one

CLOCK = ManualClock(dt.datetime(2026, 1, 2, tzinfo=dt.UTC))


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """Give opened parts, without agents."""
    async with open_parts(make_parts(settings_in(tmp_path, ["inject"]), CLOCK)) as opened:
        yield opened


def insert(parent: str, child: str, size: int = 0) -> InsertEvent:
    """Make an insert."""
    sample = changed(INSERT, "entity.parent_sha256", parent)
    sample = changed(changed(sample, "entity.child.sha256", child), "entity.child.size", size)
    event = completed(one("insert", sample))
    assert isinstance(event, InsertEvent)
    return event


async def append(parts: Parts, *events: InsertEvent) -> None:
    """Put inserts on their topic."""
    await parts.log.append([record_of(parts.settings.events.prefix, event) for event in events])


async def test_inserts_are_found_by_parent_and_replaced_and_removed_by_key(parts: Parts) -> None:
    prefix = parts.settings.events.prefix
    inserts = Inserts(parts.log, prefix, CLOCK)
    try:
        await append(parts, insert("aa", "b1"), insert("aa", "b2"), insert("cc", "d"))
        await inserts.refresh()
        await append(parts, insert("aa", "b1", size=9))
        topic, gone = system_topic(prefix, "insert"), insert("cc", "d").kafka_key.encode()
        unreadable = insert("aa", "b2").kafka_key.encode()
        await parts.log.append([NewRecord(topic, gone, None), NewRecord(topic, unreadable, b"{")])
        await inserts.refresh()
        found = [each.event.entity.child for each in inserts.of("aa")]
        assert [(child.sha256, child.size) for child in found] == [("b1", 9)]
        assert (len(inserts), "aa" in inserts, "cc" in inserts, "" in inserts) == (1, True, False, False)
    finally:
        await inserts.close()


async def test_more_inserts_than_are_held_stop_everything_rather_than_be_forgotten(parts: Parts) -> None:
    size_bytes = len(record_of(parts.settings.events.prefix, insert("aa", "bb")).value or b"") + 32
    inserts = Inserts(parts.log, parts.settings.events.prefix, CLOCK, max_bytes=size_bytes)
    try:
        await append(parts, *(insert("aa", "bb") for _ in range(5)))
        await inserts.refresh()
        assert len(inserts) == 1, "what is replaced does not count"
        await append(parts, insert("aa", "cc"))
        with pytest.raises(TooLarge, match=str(size_bytes)):
            await inserts.refresh()
    finally:
        await inserts.close()


async def test_whether_anything_was_declared_is_known_without_reading_it(parts: Parts) -> None:
    prefix = parts.settings.events.prefix
    assert not await any_insert(parts.log, prefix)
    await append(parts, insert("aa", "bb"))
    assert await any_insert(parts.log, prefix)
