"""Tables on both transports: durable before acknowledged, recovered to the letter, alive after kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import limits
from pipeline.errors import BadInput, Conflict, SettingError, TooLarge, Unavailable
from pipeline.log.port import NewRecord, Placed, TopicPartition
from tests.contract.transport_site import Site, embedded_site, kafka_site, running, until
from tests.contract.transport_worker import add_agent

pytestmark = pytest.mark.timeout(120)


def with_table(site: Site, topic: str, partitions: int = 1, **settings: Any) -> tuple[Any, Any]:
    """Make an app whose agent copies each record into its table; no value removes the row."""
    app = site.app(site.group(), partitions=partitions, **settings)
    table = app.Table("rows")

    async def work(stream: Any) -> None:
        async for batch in stream.batches():
            for record in batch.records:
                if record.value is None:
                    table.drop(record.key, partition=record.partition)
                else:
                    table.put(record.key, record.value, partition=record.partition)
            await table.flushed()
            batch.acknowledge()

    app.agent(app.source(topic), name="work")(work)
    return app, table


async def test_an_unmodified_faust_app_with_an_agent_and_a_table_goes_on_after_a_restart(
    site: Site,
) -> None:
    topic = await site.topic(partitions=2)

    def make() -> tuple[Any, Any]:
        app = site.plain_app(site.group(), partitions=2, value_serializer="json")
        counts = app.Table("counts", default=int, partitions=2)

        async def count(stream: Any) -> None:
            async for word in stream:
                counts[word] += 1

        app.agent(app.topic(topic, value_type=str, value_serializer="raw"), name="count")(count)
        return app, counts

    words = ["one", "two", "two", "three"]

    async def round_of(wanted: dict[str, int]) -> None:
        app, counts = make()
        async with running(app):
            await site.log.append(
                [NewRecord(topic, None, word.encode(), partition=len(word) % 2) for word in words]
            )
            await until(lambda: dict(counts.items()) == wanted)

    await round_of({"one": 1, "two": 2, "three": 1})
    await round_of({"one": 2, "two": 4, "three": 2})


async def test_a_restarted_app_has_the_rows_and_does_not_read_its_input_again(site: Site) -> None:
    topic = await site.topic(partitions=2)
    await site.feed(topic, 300, partition=0)
    await site.feed(topic, 300, partition=1, start=300)
    await site.log.append([NewRecord(topic, b"k7", None, partition=0)])
    app, table = with_table(site, topic, 2)
    async with running(app):
        await until(lambda: len(table) == 599)
        await until(lambda: _all_committed(site, topic, {0: 301, 1: 300}))
    again, recovered = with_table(site, topic, 2)
    async with running(again):
        assert dict(recovered.items()) == {b"k%d" % n: b"%d" % n for n in range(600) if n != 7}
        assert sorted(recovered.keys_of(1)) == sorted(b"k%d" % n for n in range(300, 600))


async def _all_committed(site: Site, topic: str, wanted: dict[int, int]) -> bool:
    places = [TopicPartition(topic, number) for number in wanted]
    found = await site.log.committed(site.group(), places)
    return {place.partition: offset for place, offset in found.items()} == wanted


async def test_nothing_is_acknowledged_while_the_log_is_down_and_all_is_kept_in_order(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CALL_BACKOFF_SECONDS", 0.01)
    topic = await site.topic()
    app, table = with_table(site, topic)
    down = True
    tries: list[int] = []
    append = app.producer.append_all

    async def sometimes(records: Sequence[NewRecord]) -> list[Placed]:
        tries.append(len(records))
        if down:
            raise Unavailable("append", "as a test wants it")
        places: list[Placed] = await append(records)
        return places

    monkeypatch.setattr(app.producer, "append_all", sometimes)
    async with running(app):
        await site.feed(topic, 5)
        await until(lambda: len(tries) > 3)
        for number in range(5):
            table.put(b"same", b"%d" % number, partition=0)
        flushed = asyncio.ensure_future(table.flushed())
        await asyncio.sleep(0)
        assert not flushed.done()
        assert await site.committed(site.group(), topic) is None
        down = False
        await flushed
        await until(lambda: _all_committed(site, topic, {0: 5}))
    changelog = await site.read_all(table.changelog_topic_name)
    assert [record.value for record in changelog if record.key == b"same"] == [b"%d" % n for n in range(5)]
    assert {record.key for record in changelog} == {b"same", *(b"k%d" % n for n in range(5))}


async def test_a_write_the_log_refuses_for_good_ends_the_app_with_the_reason_and_commits_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await site.topic()
    app, _ = with_table(site, topic)

    async def refuse(records: Sequence[NewRecord]) -> list[Placed]:
        raise BadInput("append", f"as a test wants it: {len(records)}")

    monkeypatch.setattr(app.producer, "append_all", refuse)
    await site.feed(topic, 5)
    async with asyncio.timeout(60):
        with pytest.raises(BadInput, match="as a test wants it"):
            await app.run(asyncio.Event())
    assert await site.committed(site.group(), topic) is None


async def test_a_stop_does_not_wait_for_ever_for_a_log_that_is_down(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STOP_FLUSH_SECONDS", 0.2)
    topic = await site.topic()
    app, _ = with_table(site, topic)
    tries: list[int] = []

    async def never(records: Sequence[NewRecord]) -> list[Placed]:
        tries.append(len(records))
        raise Unavailable("append", "as a test wants it")

    monkeypatch.setattr(app.producer, "append_all", never)
    async with running(app):
        await site.feed(topic, 5)
        await until(lambda: bool(tries))
    assert await site.committed(site.group(), topic) is None


async def test_the_changelog_is_compacted_and_has_the_partitions_of_the_source(site: Site) -> None:
    topic = await site.topic(partitions=3)
    app, _ = with_table(site, topic, 3)
    (spec,) = app.changelogs()
    assert (spec.partitions, spec.config["cleanup.policy"]) == (3, "compact")
    async with running(app):
        assert (await site.log.topics())[spec.name] == 3


async def test_an_app_whose_changelog_has_too_few_partitions_is_refused_with_both_numbers(
    site: Site,
) -> None:
    topic = await site.topic(partitions=3)
    app, _ = with_table(site, topic, 2)
    with pytest.raises(SettingError, match=r"has 2 partitions, .* has 3"):
        await app.start()
    await app.stop()


async def test_an_empty_changelog_does_not_keep_an_app_from_starting(site: Site) -> None:
    topic = await site.topic()
    for _ in range(2):
        app, table = with_table(site, topic)
        async with running(app):
            assert len(table) == 0


async def test_a_compacted_changelog_gives_the_same_rows(tmp_path: Path, unique: str) -> None:
    """Only the embedded log can be told when to compact."""
    async with embedded_site(tmp_path, unique) as site:
        topic = await site.topic()
        app, _ = with_table(site, topic)
        (spec,) = app.changelogs()
        config = {**spec.config, "delete.retention.ms": "0", "segment.bytes": "200"}
        await site.log.create_topics([msgspec.structs.replace(spec, config=config)])
        async with running(app):
            for start in range(30):
                await site.feed(topic, 3, start=start)
            await until(lambda: _all_committed(site, topic, {0: 90}))
            await site.log.tidy()  # type: ignore[attr-defined]
            await site.log.append([NewRecord(topic, b"k%d" % n, None, partition=0) for n in range(31)])
            await until(lambda: _all_committed(site, topic, {0: 121}))
        await site.log.tidy()  # type: ignore[attr-defined]
        await site.log.close()  # what is still in memory was not compacted
        await site.log.open()
        assert len(await site.read_all(spec.name)) < 100
        again, table = with_table(site, topic)
        async with running(again):
            assert dict(table.items()) == {b"k31": b"31"}
            await site.feed(topic, 1, start=100)
            await until(lambda: dict(table.items()) == {b"k31": b"31", b"k100": b"100"})


@pytest.mark.kafka
async def test_recovery_ends_where_the_last_offset_of_the_changelog_is_a_marker(
    kafka_address: str, tmp_path: Path, unique: str
) -> None:
    from aiokafka import AIOKafkaProducer

    async with kafka_site(kafka_address, tmp_path, unique) as site:
        topic = await site.topic()
        app, _ = with_table(site, topic)
        (spec,) = app.changelogs()
        await site.log.create_topics([spec])
        producer = AIOKafkaProducer(bootstrap_servers=kafka_address, transactional_id=unique)
        await producer.start()
        async with producer.transaction():
            await producer.send_and_wait(spec.name, b"1", key=b"k", partition=0)
        await producer.stop()
        app, table = with_table(site, topic)
        async with running(app):
            assert dict(table.items()) == {b"k": b"1"}


async def test_rows_can_be_written_beside_the_stream_but_only_where_the_partition_is(site: Site) -> None:
    topic = await site.topic(partitions=2)
    app, table = with_table(site, topic, 2)
    with pytest.raises(Conflict, match="not this process's"):
        table.put(b"early", b"1", partition=0)
    async with running(app):
        table.put(b"by hand", b"1", partition=1)
        table.put(b"by hand", b"2", partition=1)
        await table.flushed()
        with pytest.raises(TooLarge):
            table.put(b"large", bytes(10_000_000), partition=0)
        with pytest.raises(Conflict):
            table.put(b"elsewhere", b"1", partition=2)
        changelog = await site.read_all(table.changelog_topic_name, 1)
        assert [(record.key, record.value) for record in changelog] == [
            (b"by hand", b"1"),
            (b"by hand", b"2"),
        ]
    again, recovered = with_table(site, topic, 2)
    async with running(again):
        assert dict(recovered.items()) == {b"by hand": b"2"}


# --- killed -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def worker(site: Site, topic: str, partitions: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the worker, and see to it that it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.contract.transport_worker",
        site.broker,
        site.group(),
        topic,
        str(partitions),
        str(site.folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _fill(site: Site, topic: str, *, start: int = 0) -> dict[bytes, bytes]:
    """Write 1,500 numbers under 100 keys to two partitions and return the highest of each key."""
    records = [
        NewRecord(topic, b"k%d" % (number % 100), b"%d" % number, partition=number % 2)
        for number in range(start, start + 1500)
    ]
    await site.log.append(records)
    return {record.key or b"": record.value or b"" for record in records}


async def _kill_workers(site: Site, topic: str, *, times: int) -> dict[bytes, bytes]:
    """Again and again add input, start a worker and kill it after some batches; commits never go back.

    Returns the highest number of each key.
    """
    chance = random.Random(4)  # noqa: S311 - moments, not secrets
    places = [TopicPartition(topic, number) for number in (0, 1)]
    before: dict[TopicPartition, int] = {}
    highest: dict[bytes, bytes] = {}
    for turn in range(times):
        highest |= await _fill(site, topic, start=1500 * turn)
        if site.embedded:
            await site.log.close()  # one process at a time
        async with worker(site, topic, 2) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 40)):
                assert await process.stdout.readline()
            process.kill()
            await process.wait()
        await site.log.open()
        committed = await site.log.committed(site.group(), places)
        assert all(committed.get(place, 0) >= offset for place, offset in before.items())
        before = committed
    return highest


async def test_killed_at_random_moments_nothing_is_skipped_and_the_table_is_the_fold_of_the_input(
    site: Site,
) -> None:
    topic = await site.topic(partitions=2)
    times = 4 if site.embedded else 2
    wanted = await _kill_workers(site, topic, times=times)
    app = site.app(site.group(), partitions=2)
    table = add_agent(app, topic)
    async with running(app):
        await until(lambda: _all_committed(site, topic, {0: 750 * times, 1: 750 * times}))
        assert dict(table.items()) == wanted
    for number in (0, 1):
        changelog = await site.read_all(table.changelog_topic_name, number)
        rows = {record.key: record.value for record in changelog}
        assert rows == {key: value for key, value in wanted.items() if _partition(key) == number}


def _partition(key: bytes) -> int:
    return int(key[1:]) % 2


async def test_a_worker_stops_cleanly_when_told_and_leaves_nothing_to_repeat(site: Site) -> None:
    topic = await site.topic(partitions=2)
    wanted = await _fill(site, topic)
    if site.embedded:
        await site.log.close()
    async with worker(site, topic, 2) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        reached = {0: -1, 1: -1}
        async with asyncio.timeout(60):
            while reached != {0: 749, 1: 749}:
                partition, offset = (await process.stdout.readline()).split()
                reached[int(partition)] = int(offset)
            process.stdin.close()
            assert await process.wait() == 0
    await site.log.open()
    assert await _all_committed(site, topic, {0: 750, 1: 750})
    app = site.app(site.group(), partitions=2)
    table = add_agent(app, topic)
    async with running(app):
        assert dict(table.items()) == wanted


@pytest.mark.kafka
async def test_two_workers_share_the_partitions_and_the_one_left_takes_over(
    kafka_address: str, tmp_path: Path, unique: str
) -> None:
    async with kafka_site(kafka_address, tmp_path, unique) as site:
        topic = await site.topic(partitions=2)
        app = site.app(site.group(), partitions=2, broker_commit_interval=3600.0)
        table = add_agent(app, topic)
        async with running(app):
            await site.feed(topic, 50, partition=0)
            await site.feed(topic, 50, partition=1, start=50)
            await until(lambda: len(table) == 100)
            async with worker(site, topic, 2) as process:
                await until(lambda: len(_sources(app, topic)) == 1 and not app.rebalancing)
                mine = next(iter(_sources(app, topic))).partition
                assert {int(key[1:]) // 50 for key in table} == {mine}
                await site.feed(topic, 10, partition=1 - mine, start=100)
                first, last = await _lines_until(process, b"%d 59\n" % (1 - mine))
                # What was acknowledged was committed when the partition was handed over.
                assert int(first.split()[1]) >= 50
                assert last.split()[0] == b"%d" % (1 - mine)
                process.kill()
                await process.wait()
            await until(lambda: len(_sources(app, topic)) == 2 and not app.rebalancing)
            assert len(table) == 110
            await site.feed(topic, 10, partition=1 - mine, start=110)
            await until(lambda: len(table) == 120)


async def _lines_until(process: asyncio.subprocess.Process, line: bytes) -> tuple[bytes, bytes]:
    """Read what a worker prints until a line comes; return the first and the last one."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        first = last = await process.stdout.readline()
        while last != line:
            last = await process.stdout.readline()
    return first, last


def _sources(app: Any, topic: str) -> set[Any]:
    return {tp for tp in app.consumer.assignment() if tp.topic == topic}
