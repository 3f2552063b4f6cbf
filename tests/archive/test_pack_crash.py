"""Packs whose writer is stopped at any moment: nothing lost, nothing twice, nothing left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import pytest

from pipeline.archive.message import Message
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.database.engine import Database
from pipeline.errors import Unavailable
from pipeline.objects.folder import FolderStore
from pipeline.objects.memory import MemoryStore
from pipeline.objects.port import Stat
from tests.archive.archived import Archive, a_message, with_id
from tests.archive.packed import check_packs, manifests, payloads
from tests.archive.proxy import wire_to
from tests.archive.stopping import StopAt
from tests.databases import postgres_schema

Packers = Callable[..., PackWriter]
STORED = 7


def a_batch(topic: str, first: int = 0) -> list[Message]:
    """Make a stretch with every kind of identity in it; seven of its messages are to be stored."""
    uuid = uuid5(NAMESPACE_URL, topic)
    return [
        a_message(first, topic=topic),
        with_id(first + 1, uuid=uuid, topic=topic),
        with_id(first + 2, uuid=uuid, topic=topic, value=b"another one with that id"),
        a_message(first + 3, topic=topic, value=None),
        with_id(first + 4, uuid=uuid, topic=topic),
        a_message(first + 5, topic=topic, value=b"x" * 300_000),
        a_message(first + 6, topic=topic, timestamp_ms=1),
        a_message(first + 9, topic=topic, value=b"last"),
    ]


async def check_settled(packer: PackWriter, archive: Archive, topic: str) -> None:
    """Fail unless packing the stretch once more leaves what one undisturbed run leaves."""
    await archive.check(topic)
    outcomes = await packer.store(a_batch(topic))
    assert not any(outcome.refused for outcome in outcomes)
    assert len(await archive.rows(topic)) == STORED
    await archive.check_complete(topic)
    await check_packs(archive)


async def test_stopped_at_any_await_nothing_is_lost_or_twice(
    new_packer: Packers, database: Database, tmp_path: Path
) -> None:
    objects = FolderStore(tmp_path / "objects")
    await objects.open()
    moment, reached = 0, True
    while reached:
        moment += 1
        topic = f"t{moment}"
        stop = StopAt(moment)
        await stop.run(new_packer(objects=Counting(objects, stop)).store(a_batch(topic)))
        reached = stop.reached
        await check_settled(new_packer(objects=objects), Archive(objects, database), topic)
    assert moment > STORED
    await objects.close()


class Counting(FolderStore):
    """A store that counts the moments before and after each put."""

    def __init__(self, inner: FolderStore, stop: StopAt) -> None:
        self.__dict__ = dict(inner.__dict__)
        self._stop = stop

    async def put(self, key: str, source: object, **options: object) -> Stat:
        """Put between two moments."""
        self._stop.count()
        stat = await super().put(key, source, **options)  # type: ignore[arg-type]
        self._stop.count()
        return stat


class Dying(MemoryStore):
    """A store that dies before or after its first put of a pack."""

    def __init__(self, inner: MemoryStore, *, after: bool) -> None:
        self.__dict__ = dict(inner.__dict__)
        self._after = after

    async def put(self, key: str, source: object, **options: object) -> Stat:
        """Put, or die."""
        if key.endswith(".pack") and not self._after:
            raise Unavailable("put an object")
        stat = await super().put(key, source, **options)  # type: ignore[arg-type]
        if key.endswith(".pack"):
            raise Unavailable("put an object")
        return stat


@pytest.mark.parametrize("after", [False, True], ids=["before its object", "after its object"])
class TestLeftUnfinished:
    """A manifest was written, perhaps the object too, and then the writer died."""

    async def test_the_next_writer_finishes_it(
        self, new_packer: Packers, objects: MemoryStore, archive: Archive, *, after: bool
    ) -> None:
        await _die(new_packer, objects, a_batch("t"), after=after)
        assert await archive.rows("t") == []
        await check_settled(new_packer(), archive, "t")
        assert len([key for key in await archive.keys() if key.endswith(".pack")]) == 1

    @pytest.mark.parametrize(("start", "end"), [(0, 3), (0, 12), (2, 6), (2, 12), (4, 5), (3, 12)])
    async def test_boundaries_may_be_others_then(
        self,
        new_packer: Packers,
        objects: MemoryStore,
        archive: Archive,
        start: int,
        end: int,
        *,
        after: bool,
    ) -> None:
        """The manifest is of offsets 3 to 5; the log is read again from elsewhere, in other portions."""
        log = [a_message(n, value=b"%d" % n) for n in range(12)]
        await _die(new_packer, objects, log[3:6], after=after)
        await new_packer().store(log[start:end])
        await new_packer().store(log)
        assert len(await archive.rows()) == 12
        await archive.check_complete(log[0].topic)
        await check_packs(archive)

    async def test_what_the_log_let_go_of_meanwhile_is_kept_if_it_was_written(
        self, new_packer: Packers, objects: MemoryStore, archive: Archive, *, after: bool
    ) -> None:
        log = [a_message(n, value=b"%d" % n) for n in range(12)]
        await _die(new_packer, objects, log[3:6], after=after)
        await new_packer().store([log[4], *log[8:]])
        kept = {row.kafka_offset for row in await archive.rows()}
        assert kept == {3, 4, 5, 8, 9, 10, 11} if after else {4, 8, 9, 10, 11}
        await check_packs(archive)

    async def test_it_is_finished_when_its_partition_is_looked_at_though_nothing_of_it_comes_again(
        self, new_packer: Packers, objects: MemoryStore, archive: Archive, *, after: bool
    ) -> None:
        log = [a_message(n, value=b"%d" % n) for n in range(3)]
        await _die(new_packer, objects, log, after=after)
        await new_packer().finish_left(log[0].topic, 2)
        assert len(await archive.rows()) == (3 if after else 0)
        assert [each.n_messages for each in await manifests(archive.database)] == [3 if after else None]

    async def test_several_of_them_are_all_finished(
        self, new_packer: Packers, objects: MemoryStore, archive: Archive, *, after: bool
    ) -> None:
        log = [a_message(n, value=b"%d" % n) for n in range(12)]
        for start in (0, 3, 6):
            await _die(new_packer, objects, log[start : start + 3], after=after)
        assert all(outcome.stored for outcome in await new_packer().store(log))
        assert [each.first_offset for each in await manifests(archive.database)] == [0, 3, 6, 9]
        await check_packs(archive)


async def _die(new_packer: Packers, objects: MemoryStore, batch: list[Message], *, after: bool) -> None:
    with pytest.raises(Unavailable):
        await new_packer(objects=Dying(objects, after=after)).store(batch)


async def test_a_damaged_pack_left_under_a_key_stops_nothing(
    new_packer: Packers, objects: MemoryStore, archive: Archive
) -> None:
    batch = [a_message(n) for n in range(3)]
    await _die(new_packer, objects, batch, after=True)
    (left,) = await archive.keys()
    await objects.put(left, b"damaged")
    assert all(outcome.stored for outcome in await new_packer().store(batch))
    await archive.check(batch[0].topic)
    assert left not in {row.key for row in await archive.rows()}


@pytest.mark.postgres
@pytest.mark.parametrize("deliver", [False, True], ids=["before it acts", "after it acted"])
async def test_a_database_lost_at_any_message_loses_and_repeats_nothing(
    new_packer: Packers, objects: MemoryStore, postgres_dsn: str, tmp_path: Path, *, deliver: bool
) -> None:
    parts = urlsplit(postgres_dsn)
    assert parts.hostname is not None
    assert parts.port is not None
    async with postgres_schema(postgres_dsn) as url, wire_to(parts.hostname, parts.port) as (wire, port):
        database = Database(url.replace(f":{parts.port}/", f":{port}/"), tmp_path, attempts=1)
        await database.open()
        archive, packer = Archive(objects, database), new_packer(database=database)
        failed, moment = True, 0
        while failed:
            moment += 1
            topic, failed = f"t{moment}", False
            wire.seen, wire.cut_at, wire.deliver = 0, moment, deliver
            try:
                await packer.store(a_batch(topic))
            except Unavailable:
                failed = True
            wire.cut_at = 0
            await check_settled(packer, archive, topic)
        assert moment > 5
        await database.close()


class Meeting(MemoryStore):
    """A store where the first puts of two writers wait for each other: both have looked by then."""

    def __init__(self, inner: MemoryStore, barrier: asyncio.Barrier) -> None:
        self.__dict__ = dict(inner.__dict__)
        self._barrier: asyncio.Barrier | None = barrier

    async def put(self, key: str, source: object, **options: object) -> Stat:
        """Wait for the other writer once, then put."""
        barrier, self._barrier = self._barrier, None
        if barrier is not None:
            await barrier.wait()
        return await super().put(key, source, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def two_packers(new_packer: Packers, archive: Archive, url: str, folder: Path) -> AsyncIterator[Any]:
    """Give two writers with connections of their own whose first puts meet."""
    assert isinstance(archive.objects, MemoryStore)
    other = Database(url, folder, attempts=1)
    await other.open()
    barrier = asyncio.Barrier(2)
    stores = [Meeting(archive.objects, barrier) for _ in range(2)]
    yield new_packer(objects=stores[0]), new_packer(objects=stores[1], database=other)
    await other.close()


@pytest.mark.parametrize("ahead", [0, 3], ids=["same stretch", "one ahead"])
async def test_two_writers_at_one_stretch_store_each_message_once(
    new_packer: Packers, archive: Archive, database_url: str, tmp_path: Path, ahead: int
) -> None:
    """Two workers own a partition for a moment; one may have read further than the other."""
    for attempt in range(4):
        topic = f"t{attempt}"
        batch = [a_message(n, topic=topic, value=b"%d" % n) for n in range(8)]
        async with two_packers(new_packer, archive, database_url, tmp_path) as (one, other):
            first, second = await asyncio.gather(one.store(batch), other.store(batch[: 8 - ahead]))
        assert {outcome.status for outcome in (*first, *second)} == {"stored", "duplicate"}
        told = [n for each in (first, second) for n, outcome in enumerate(each) if outcome.stored]
        # Never by both. Who takes over a pack makes rows also of what it has not in hand, and tells nobody.
        assert len(told) == len(set(told))
        assert set(range(8 - ahead)) <= set(told)
        await archive.check_complete(topic)
    await check_packs(archive)


async def test_different_messages_of_two_partitions_racing_for_one_id_are_both_kept(
    new_packer: Packers, archive: Archive, database_url: str, tmp_path: Path
) -> None:
    for attempt in range(4):
        topic = f"t{attempt}"
        uuid = uuid5(NAMESPACE_URL, topic)
        first = with_id(1, uuid=uuid, topic=topic, value=b"one")
        second = with_id(1, uuid=uuid, topic=topic, value=b"two", partition=3)
        async with two_packers(new_packer, archive, database_url, tmp_path) as (one, other):
            await asyncio.gather(one.store([first]), other.store([second]))
        rows = await archive.rows(topic)
        found = {(await archive.message(row.uuid)).payload for row in rows}
        assert found == {b"one", b"two"}
        assert sorted(row.is_client_uuid for row in rows) == [False, True]
        await archive.check_complete(topic)


async def test_a_pack_whose_messages_others_stored_meanwhile_is_not_left_behind(
    new_packer: Packers, new_writer: Callable[..., ArchiveWriter], archive: Archive, objects: MemoryStore
) -> None:
    batch = [a_message(n) for n in range(4)]
    overtaken = Overtaken(objects, lambda: new_writer().store(batch))
    outcomes = await new_packer(objects=overtaken).store(batch)
    assert {outcome.status for outcome in outcomes} == {"duplicate"}
    assert await manifests(archive.database) == []
    await archive.check_complete(batch[0].topic)


async def test_a_pack_of_which_others_stored_a_part_meanwhile_keeps_the_rest(
    new_packer: Packers, new_writer: Callable[..., ArchiveWriter], archive: Archive, objects: MemoryStore
) -> None:
    batch = [a_message(n, value=b"%d" % n) for n in range(4)]
    overtaken = Overtaken(objects, lambda: new_writer().store(batch[:2]))
    outcomes = await new_packer(objects=overtaken).store(batch)
    assert [outcome.stored for outcome in outcomes] == [False, False, True, True]
    (manifest,) = await manifests(archive.database)
    assert (await payloads(archive, manifest.key))[2:] == [b"2", b"3"]
    await archive.check_complete(batch[0].topic)


class Overtaken(MemoryStore):
    """A store that lets others act before its first put."""

    def __init__(self, inner: MemoryStore, act: Callable[[], Any]) -> None:
        self.__dict__ = dict(inner.__dict__)
        self._act: Callable[[], Any] | None = act

    async def put(self, key: str, source: object, **options: object) -> Stat:
        """Let others act once, then put."""
        act, self._act = self._act, None
        if act is not None:
            await act()
        return await super().put(key, source, **options)  # type: ignore[arg-type]
