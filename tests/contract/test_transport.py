"""The contract of the Faust transports, the same for the embedded log and for Kafka."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pipeline.clock import SystemClock
from pipeline.errors import Conflict, Damaged, Unavailable
from pipeline.log.port import NewRecord
from pipeline.log.transport.watchdog import Watchdog
from tests.contract.transport_site import (
    Site,
    Taken,
    embedded_site,
    numbers,
    running,
    taking,
    until,
)

pytestmark = pytest.mark.timeout(120)


async def test_records_that_come_one_by_one_gather_when_the_app_lingers(site: Site) -> None:
    topic = await site.topic()
    app = site.app(site.group(), linger_seconds=0.5)
    taken = taking(app, topic, acknowledge=True)
    async with running(app):
        for number in range(50):
            await site.feed(topic, 1, start=number)
        await until(lambda: len(taken.records) == 50)
    assert [record.offset for record in taken.records] == list(range(50))
    assert len(taken.batches) < 50 / 2


# --- commits ----------------------------------------------------------------------------------


async def test_no_offset_is_committed_while_the_first_record_of_a_fresh_group_is_open(site: Site) -> None:
    topic = await site.topic()
    await site.feed(topic, 10)
    app = site.plain_app(site.group(), stream_wait_empty=False)
    seen: list[int] = []

    async def work(stream: Any) -> None:
        async for event in stream.noack().events():
            seen.append(event.message.offset)
            if event.message.offset > 0:
                await stream.ack(event)

    app.agent(app.topic(topic, value_type=bytes), name="work")(work)
    async with running(app):
        await until(lambda: len(seen) == 10)
        await app.consumer.commit()
    assert await site.committed(site.group(), topic) in {None, 0}


async def test_commit_stops_before_an_open_record_of_a_group_that_committed_before(site: Site) -> None:
    topic = await site.topic()
    await site.feed(topic, 5)
    app = site.app(site.group())
    taking(app, topic, acknowledge=True)
    async with running(app):
        await until(lambda: _is(site, topic, 5))
    await site.feed(topic, 10, start=5)
    app = site.app(site.group())
    taken = taking(app, topic)
    async with running(app):
        await until(lambda: len(taken.records) == 10)
        for batch in taken.batches:
            for record in batch.records:
                if record.offset not in {5, 9}:
                    batch.acknowledge_record(record)
        await app.consumer.commit()
        assert await site.committed(site.group(), topic) == 5
        _acknowledge(taken, 5)
        await until(lambda: _is(site, topic, 9))
        _acknowledge(taken, 9)
        await until(lambda: _is(site, topic, 15))


async def test_batches_acknowledged_out_of_order_commit_only_what_is_contiguous(site: Site) -> None:
    topic = await site.topic()
    await site.feed(topic, 40)
    app = site.app(site.group())
    taken = taking(app, topic, max_records=10)
    async with running(app):
        await until(lambda: len(taken.batches) == 4)
        for index in (1, 3, 2):
            taken.batches[index].acknowledge()
        await app.consumer.commit()
        assert await site.committed(site.group(), topic) is None
        taken.batches[0].acknowledge()
        taken.batches[0].acknowledge()
        await until(lambda: _is(site, topic, 40))


async def test_a_clean_stop_commits_what_is_acknowledged_and_nothing_else(site: Site) -> None:
    topic = await site.topic()
    await site.feed(topic, 20)
    app = site.app(site.group(), broker_commit_interval=3600.0)
    taken = taking(app, topic, max_records=10)
    async with running(app):
        await until(lambda: len(taken.batches) == 2)
        taken.batches[0].acknowledge()
    assert await site.committed(site.group(), topic) == 10


async def _is(site: Site, topic: str, offset: int) -> bool:
    return await site.committed(site.group(), topic) == offset


def _acknowledge(taken: Taken, offset: int) -> None:
    for batch in taken.batches:
        for record in batch.records:
            if record.offset == offset:
                batch.acknowledge_record(record)


# --- batches ----------------------------------------------------------------------------------


async def test_batches_hold_every_record_once_in_order_and_of_one_partition(site: Site) -> None:
    topic = await site.topic(partitions=3)
    headers = (("a", b"1"), ("a", b"2"), ("b", None))
    await site.log.append([NewRecord(topic, b"key", b"-5", headers, 0, 1234), NewRecord(topic, b"k", None)])
    for partition in range(3):
        await site.feed(topic, 700, partition=partition)
    app = site.app(site.group(), partitions=3)
    taken = taking(app, topic, acknowledge=True, max_records=100)
    async with running(app):
        await until(lambda: len(taken.records) == 2102)
    assert all(1 <= len(batch) <= 100 for batch in taken.batches)
    assert all({(r.topic, r.partition) for r in b.records} == {(topic, b.partition)} for b in taken.batches)
    for partition in range(3):
        mine = [record for record in taken.records if record.partition == partition]
        assert [record.offset for record in mine] == list(range(len(mine)))
        assert [n for n in numbers(mine) if n >= 0] == list(range(700))
    first = next(record for record in taken.records if record.key == b"key")
    assert (first.timestamp_ms, tuple(first.headers)) == (1234, headers)
    assert [record.value for record in taken.records if record.key == b"k"] == [None]


async def test_an_agent_that_raised_is_given_what_it_left_open_before_anything_new(site: Site) -> None:
    topic = await site.topic()
    await site.feed(topic, 20)
    app = site.app(site.group())
    rounds: list[list[int]] = []

    async def work(stream: Any) -> None:
        first = not rounds
        mine: list[int] = []
        rounds.append(mine)
        async for batch in stream.batches(max_records=10):
            mine.extend(numbers(batch.records))
            if first:
                for record in batch.records[:3]:
                    batch.acknowledge_record(record)
                raise RuntimeError("as a test wants it")
            batch.acknowledge()

    app.agent(app.source(topic), name="work")(work)
    async with running(app):
        await until(lambda: len(rounds) == 2 and len(rounds[1]) == 17)
        await until(lambda: _is(site, topic, 20))
    assert rounds == [list(range(10)), list(range(3, 20))]


async def test_what_a_raising_agent_left_open_comes_again_after_a_restart(site: Site) -> None:
    topic = await site.topic()
    await site.feed(topic, 5)
    app = site.app(site.group())

    async def work(stream: Any) -> None:
        async for batch in stream.batches(max_records=2):
            if batch.records[0].offset:
                await asyncio.Event().wait()
            batch.acknowledge()

    app.agent(app.source(topic), name="work")(work)
    async with running(app):
        await until(lambda: _is(site, topic, 2))
    again = site.app(site.group())
    taken = taking(again, topic)
    async with running(again):
        await until(lambda: numbers(taken.records) == [2, 3, 4])


async def test_plain_iteration_acknowledges_a_value_only_when_the_agent_comes_back(site: Site) -> None:
    topic = await site.topic()
    await site.feed(topic, 5)
    app = site.app(site.group())
    seen: list[bytes] = []
    stuck = asyncio.Event()

    async def work(stream: Any) -> None:
        async for value in stream:
            seen.append(value)
            if value == b"3":
                stuck.set()
                await asyncio.Event().wait()

    app.agent(app.source(topic), name="work")(work)
    async with running(app):
        await asyncio.wait_for(stuck.wait(), 60)
    assert seen == [b"0", b"1", b"2", b"3"]
    assert await site.committed(site.group(), topic) == 3


# --- positions --------------------------------------------------------------------------------


async def test_a_paused_partition_gives_nothing_and_loses_nothing(site: Site) -> None:
    topic = await site.topic(partitions=2)
    app = site.app(site.group(), partitions=2)
    taken = taking(app, topic, acknowledge=True)
    async with running(app):
        paused = next(tp for tp in app.consumer.assignment() if tp.partition == 0)
        app.consumer.pause_partitions([paused])
        await site.feed(topic, 50, partition=0)
        await site.feed(topic, 50, partition=1)
        await until(lambda: len(taken.records) >= 50)
        await site.feed(topic, 50, partition=1, start=50)
        await until(lambda: len(taken.records) >= 100)
        assert {record.partition for record in taken.records} == {1}
        app.consumer.resume_partitions([paused])
        await until(lambda: len(taken.records) == 150)
    mine = [record for record in taken.records if record.partition == 0]
    assert numbers(mine) == list(range(50))


async def test_after_a_seek_old_batches_acknowledge_nothing(site: Site) -> None:
    topic = await site.topic()
    await site.feed(topic, 10)
    app = site.app(site.group())
    taken = taking(app, topic)
    async with running(app):
        await until(lambda: len(taken.records) == 10)
        old, taken.batches = taken.batches, []
        (tp,) = app.consumer.assignment()
        await app.consumer.seek(tp, 4)
        await until(lambda: len(taken.records) == 6)
        assert not any(batch.current for batch in old)
        for batch in old:
            batch.acknowledge()
        await app.consumer.commit()
        assert await site.committed(site.group(), topic) is None
        for batch in taken.batches:
            batch.acknowledge()
        await until(lambda: _is(site, topic, 10))
    assert numbers(taken.records) == [4, 5, 6, 7, 8, 9]


async def test_nothing_more_is_read_than_may_be_open(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline import limits

    monkeypatch.setattr(limits, "UNACKNOWLEDGED_RECORDS", 50)
    monkeypatch.setattr(limits, "FETCH_PARTITION_RECORDS", 20)
    monkeypatch.setattr(limits, "FETCH_PARTITION_BYTES", 4096)
    topic = await site.topic(partitions=2)
    for start in range(0, 1000, 20):
        await site.feed(topic, 20, start=start)
    app = site.app(site.group(), partitions=2)
    taken = taking(app, topic)
    async with running(app):
        await until(lambda: len(taken.records) >= 50)
        await site.feed(topic, 1, partition=1)
        await until(lambda: any(record.partition == 1 for record in taken.records))
        assert len(taken.records) < 500
        done = 0
        while done < len(taken.batches):
            taken.batches[done].acknowledge()
            done += 1
            if done == len(taken.batches) and len(taken.records) < 1001:
                await until(lambda: len(taken.batches) > done)  # noqa: B023 - awaited within the round
        await until(lambda: _is(site, topic, 1000))


# --- life -------------------------------------------------------------------------------------


async def test_run_ends_when_told_and_says_why_when_the_app_crashes(site: Site) -> None:
    topic = await site.topic()
    app = site.app(site.group())
    taken = taking(app, topic, acknowledge=True)
    stop = asyncio.Event()
    task = asyncio.ensure_future(app.run(stop))
    await site.feed(topic, 1)
    await until(lambda: len(taken.records) == 1)
    stop.set()
    async with asyncio.timeout(60):
        await task
    assert await site.committed(site.group(), topic) == 1
    again = site.app(site.group())
    taken = taking(again, topic, acknowledge=True)
    task = asyncio.ensure_future(again.run(asyncio.Event()))
    await site.feed(topic, 1)
    await until(lambda: len(taken.records) == 1)
    await again.consumer.crash(Damaged("read a segment", "as a test wants it"))
    async with asyncio.timeout(60):
        with pytest.raises(Damaged, match="as a test wants it"):
            await task


async def test_stopped_at_any_moment_of_its_start_an_app_leaves_nothing_behind(site: Site) -> None:
    """On Kafka a member that did not leave its group would hold up the next one for its session."""
    topic = await site.topic(partitions=2)
    await site.feed(topic, 10)
    session: dict[str, Any] = {
        "broker_session_timeout": 100.0,
        "broker_rebalance_timeout": 100.0,
        "broker_request_timeout": 110.0,
    }
    settled = len(asyncio.all_tasks())
    for turn in range(12):
        app = site.app(site.group(), partitions=2, **session)
        app.Table("rows")
        taking(app, topic)
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(turn * (0.01 if site.embedded else 0.06), stop.set)
        await app.run(stop)
        await until(lambda: len(asyncio.all_tasks()) <= settled)
    app = site.app(site.group(), partitions=2, **session)
    app.Table("rows")
    taken = taking(app, topic)
    async with running(app):
        await until(lambda: len(taken.records) == 10)


async def test_an_app_that_cannot_start_says_why(tmp_path: Path) -> None:
    from pipeline.log.transport.app import create_app

    app = create_app("g", "headrace-kafka://127.0.0.1:1", data_folder=tmp_path, partitions=1)
    with pytest.raises(Unavailable, match="start the agents of group g"):
        await app.run(asyncio.Event())


async def test_an_agent_that_fails_again_and_again_neither_ends_the_process_nor_skips(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import limits

    monkeypatch.setattr(limits, "CALL_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(limits, "CALL_BACKOFF_MAX_SECONDS", 0.001)
    topic = await site.topic()
    await site.feed(topic, 3)
    app = site.app(site.group())
    tries: list[int] = []

    async def work(stream: Any) -> None:
        async for batch in stream.batches():
            tries.append(batch.records[0].offset)
            if len(tries) < 150:
                raise RuntimeError("as a test wants it")
            batch.acknowledge()

    app.agent(app.source(topic), name="work")(work)
    async with running(app):
        await until(lambda: _is(site, topic, 3))
    assert set(tries) == {0}


async def test_the_watchdog_knows_how_much_is_not_acknowledged(site: Site) -> None:
    topic = await site.topic(partitions=2)
    await site.feed(topic, 10)
    app = site.app(site.group(), partitions=2)
    taken = taking(app, topic)
    watchdog = Watchdog(app, SystemClock())
    async with running(app):
        await until(lambda: len(taken.records) == 10)
        await watchdog.look()
        assert sorted(standing.lag for standing in watchdog.standings.values()) == [0, 10]
        for batch in taken.batches:
            batch.acknowledge()
        await watchdog.look()
        assert [standing.lag for standing in watchdog.standings.values()] == [0, 0]
        assert watchdog.stalled() is None


async def test_statistics_pages_count_what_came_and_show_no_rows(site: Site, unused_tcp_port: int) -> None:
    topic = await site.topic()
    await site.feed(topic, 10)
    app = site.app(site.group(), web_enabled=True, web_port=unused_tcp_port)
    app.Table("rows")
    taken = taking(app, topic, acknowledge=True)
    async with running(app), aiohttp.ClientSession(f"http://127.0.0.1:{unused_tcp_port}") as client:
        await until(lambda: len(taken.records) == 10)
        async with client.get("/performance/") as answer:
            assert (await answer.json())["throughput"]["messages_received_total"] == 10
        async with client.get("/table/rows/") as answer:
            assert answer.status == 404


# --- several ----------------------------------------------------------------------------------


async def test_several_apps_in_one_process_each_read_everything(site: Site) -> None:
    topic = await site.topic(partitions=2)
    apps = [site.app(site.group(f"g{number}"), partitions=2) for number in range(4)]
    all_taken = [taking(app, topic, acknowledge=True) for app in apps]
    async with running(*apps):
        await site.feed(topic, 30, partition=0)
        await site.feed(topic, 30, partition=1)
        await until(lambda: all(len(taken.records) == 60 for taken in all_taken))
        await apps[0].stop()
        await site.feed(topic, 5, partition=0, start=30)
        await until(lambda: all(len(taken.records) == 65 for taken in all_taken[1:]))
    for number in range(1, 4):
        assert await site.committed(site.group(f"g{number}"), topic) == 35
    assert await site.committed(site.group("g0"), topic) == 30


async def test_one_agent_over_several_topics_reads_all_of_them(site: Site) -> None:
    one, two = await site.topic(name="one"), await site.topic(name="two", partitions=3)
    app = site.app(site.group(), partitions=3)
    taken = taking(app, one, two, acknowledge=True)
    async with running(app):
        await site.feed(one, 5)
        await site.feed(two, 5, partition=2)
        await until(lambda: len(taken.records) == 10)
    assert {record.topic for record in taken.records} == {one, two}


async def test_a_second_member_is_refused_and_the_first_goes_on(tmp_path: Path, unique: str) -> None:
    """The embedded log has one member a group; Kafka shares the work."""
    async with embedded_site(tmp_path, unique) as site:
        topic = await site.topic()
        first, second = site.app(site.group()), site.app(site.group())
        taken = taking(first, topic, acknowledge=True)
        taking(second, topic)
        async with running(first):
            with pytest.raises(Conflict, match="only one"):
                await second.start()
            await second.stop()
            await site.feed(topic, 3)
            await until(lambda: len(taken.records) == 3)
        third = site.app(site.group())
        taking(third, topic)
        async with running(third):
            pass
