"""What a rebalance may not lose, and what ends one that does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faust.types import TP

from pipeline.clock import SystemClock
from pipeline.errors import Unavailable
from pipeline.log.transport.watchdog import Watchdog
from tests.contract.transport_site import Site, running, taking, until

pytestmark = pytest.mark.timeout(120)


async def test_records_fetched_while_a_partition_was_assigned_come_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch under way when a partition is assigned reads on in it; what it brings is given to nobody.

    A partition without a commit was then read from there on: its records came never or, behind a commit
    of later ones, were lost.
    """
    topic = await site.topic()
    await site.feed(topic, 10)
    app = site.app(site.group())
    taken = taking(app, topic)
    seek_to_committed = app.consumer.seek_to_committed

    async def after_a_fetch() -> Any:
        await app.consumer._seek(TP(topic, 0), 10)  # noqa: SLF001 - what the fetch does to the position
        return await seek_to_committed()

    monkeypatch.setattr(app.consumer, "seek_to_committed", after_a_fetch)
    async with running(app):
        await site.feed(topic, 1, start=10)
        await until(lambda: bool(taken.records) and taken.records[-1].offset == 10)
    assert [record.offset for record in taken.records] == list(range(11))


async def test_a_group_that_wants_only_new_records_begins_at_the_end(site: Site) -> None:
    topic = await site.topic()
    await site.feed(topic, 10)
    app = site.app(site.group(), consumer_auto_offset_reset="latest")
    taken = taking(app, topic)
    async with running(app):
        await until(lambda: not app.rebalancing)
        await site.feed(topic, 1, start=10)
        await until(lambda: bool(taken.records))
    assert [record.offset for record in taken.records] == [10]


async def test_a_rebalance_the_log_does_not_answer_ends_the_app(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Faust takes the silence for a stop, and its recovery would never read again."""
    app = site.app(site.group(), broker_session_timeout=6.0, broker_request_timeout=6.5)
    taking(app, await site.topic())

    async def silence() -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(app.consumer, "seek_to_committed", silence)
    with pytest.raises(Unavailable, match="did not answer"):
        await app.run(asyncio.Event())
    assert [record for record in caplog.records if record.exc_info] == []


async def test_an_app_that_reads_no_more_ends_so_that_it_can_be_started_again(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await site.topic()
    app = site.app(site.group())
    taken = taking(app, topic, acknowledge=True)
    running_app = asyncio.ensure_future(app.run(asyncio.Event()))
    await site.feed(topic, 1)
    await until(lambda: len(taken.records) == 1)
    app.consumer.pause_partitions([TP(topic, 0)])
    await site.feed(topic, 1, start=1)
    watchdog = Watchdog(app, SystemClock(), stalled_after_seconds=0.5)

    async def ended() -> bool:
        await watchdog.look()
        return running_app.done()

    await until(ended)
    with pytest.raises(Unavailable, match="1 records before its end"):
        await running_app
    assert [record for record in caplog.records if record.exc_info] == []
    again = site.app(site.group())
    taken = taking(again, topic, acknowledge=True)
    async with running(again):
        await until(lambda: len(taken.records) == 1)
    assert taken.records[0].offset == 1
