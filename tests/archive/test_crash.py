"""Stopped at any moment and started again: nothing lost, nothing twice, nothing left over."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest

from pipeline.archive.identity import made_uuid
from pipeline.archive.message import Message
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.database.engine import Database
from pipeline.errors import BadInput, Unavailable
from pipeline.objects.folder import FolderStore
from pipeline.objects.memory import MemoryStore
from pipeline.objects.port import Stat
from tests.archive.archived import CLIENT_UUID, Archive, a_message, upstream_row, with_id
from tests.archive.child import CHILD_TOPIC, MESSAGES
from tests.archive.packed import check_packs
from tests.archive.proxy import wire_to
from tests.archive.stopping import StopAt
from tests.databases import postgres_schema

Writers = Callable[..., ArchiveWriter]


def a_batch(topic: str) -> list[Message]:
    """Make a batch with every kind of identity in it; seven of its messages are to be stored."""
    uuid = uuid5(NAMESPACE_URL, topic)
    return [
        a_message(0, topic=topic),
        with_id(1, uuid=uuid, topic=topic),
        with_id(2, uuid=uuid, topic=topic, value=b"another one with that id"),
        a_message(3, topic=topic, value=None),
        a_message(None, topic=topic),
        a_message(0, topic=topic),
        a_message(4, topic=topic, value=b"x" * 300_000),
        a_message(5, topic=topic, timestamp_ms=1),
    ]


STORED = 7


async def check_settled(writer: ArchiveWriter, archive: Archive, topic: str) -> None:
    """Fail unless storing the batch once more leaves exactly what one undisturbed run leaves."""
    await archive.check(topic)
    outcomes = await writer.store(a_batch(topic))
    assert not any(outcome.refused for outcome in outcomes)
    assert len(await archive.rows(topic)) == STORED
    await archive.check_complete(topic)


async def test_stopped_at_any_await_nothing_is_lost_or_twice(
    new_writer: Writers, database: Database, tmp_path: Path
) -> None:
    moment, reached = 0, True
    while reached:
        moment += 1
        topic = f"t{moment}"
        stop = StopAt(moment)
        objects = Counting(tmp_path / "objects", stop)
        await objects.open()
        writer = new_writer(objects=objects)
        await stop.run(writer.store(a_batch(topic)))
        reached = stop.reached
        await check_settled(writer, Archive(objects, database), topic)
        await objects.close()
    assert moment > 2 * STORED


class Counting(FolderStore):
    """A store that counts the moments before and after each put."""

    def __init__(self, root: Path, stop: StopAt) -> None:
        super().__init__(root)
        self._stop = stop

    async def put(self, key: str, source: object, **options: object) -> Stat:
        """Put between two moments."""
        self._stop.count()
        stat = await super().put(key, source, **options)  # type: ignore[arg-type]
        self._stop.count()
        return stat


class Dying(MemoryStore):
    """A store that dies before or after its n-th put, once."""

    def __init__(self, inner: MemoryStore, at: int, *, after: bool) -> None:
        self.__dict__ = inner.__dict__
        self._at = at
        self._after = after

    async def put(self, key: str, source: object, **options: object) -> Stat:
        """Put, or die."""
        self._at -= 1
        dies = self._at == 0
        if dies and not self._after:
            raise Unavailable("put an object")
        stat = await super().put(key, source, **options)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        if dies:
            raise Unavailable("put an object")
        return stat


@pytest.mark.parametrize("after", [False, True])
async def test_a_store_that_dies_at_any_put_loses_and_repeats_nothing(
    new_writer: Writers, objects: MemoryStore, archive: Archive, *, after: bool
) -> None:
    for at in range(1, STORED + 1):
        topic = f"t{at}"
        with pytest.raises(Unavailable):
            await new_writer(objects=Dying(objects, at, after=after)).store(a_batch(topic))
        assert await archive.rows(topic) == []
        await check_settled(new_writer(), archive, topic)


@pytest.mark.postgres
@pytest.mark.parametrize("deliver", [False, True], ids=["before it acts", "after it acted"])
async def test_a_database_lost_at_any_message_loses_and_repeats_nothing(
    new_writer: Writers, objects: MemoryStore, postgres_dsn: str, tmp_path: Path, *, deliver: bool
) -> None:
    parts = urlsplit(postgres_dsn)
    assert parts.hostname is not None
    assert parts.port is not None
    async with postgres_schema(postgres_dsn) as url, wire_to(parts.hostname, parts.port) as (wire, port):
        database = Database(url.replace(f":{parts.port}/", f":{port}/"), tmp_path, attempts=1)
        await database.open()
        archive, writer = Archive(objects, database), new_writer(database=database)
        failed, moment = True, 0
        while failed:
            moment += 1
            topic, failed = f"t{moment}", False
            wire.seen, wire.cut_at, wire.deliver = 0, moment, deliver
            try:
                await writer.store(a_batch(topic))
            except Unavailable:
                failed = True
            wire.cut_at = 0
            await check_settled(writer, archive, topic)
        assert moment > 5
        await database.close()


class Meeting(MemoryStore):
    """A store where the first puts of two writers wait for each other: both have looked by then."""

    def __init__(self, inner: MemoryStore, barrier: asyncio.Barrier) -> None:
        self.__dict__ = inner.__dict__
        self._barrier: asyncio.Barrier | None = barrier

    async def put(self, key: str, source: object, **options: object) -> Stat:
        """Wait for the other writer once, then put."""
        barrier, self._barrier = self._barrier, None
        if barrier is not None:
            await barrier.wait()
        return await super().put(key, source, **options)  # type: ignore[arg-type]


async def race(
    new_writer: Writers, archive: Archive, url: str, folder: Path, batches: list[list[Message]]
) -> list[str]:
    """Let two writers with connections of their own store a batch each; return what became of all."""
    assert isinstance(archive.objects, MemoryStore)
    other = Database(url, folder, attempts=1)
    await other.open()
    barrier = asyncio.Barrier(2)
    stores = [Meeting(archive.objects, barrier) for _ in range(2)]
    # Dictionaries of their own, so that each waits once; the objects themselves are shared.
    for store in stores:
        store.__dict__ = dict(store.__dict__)
    writers = [new_writer(objects=stores[0]), new_writer(objects=stores[1], database=other)]
    outcomes = await asyncio.gather(
        *(writer.store(batch) for writer, batch in zip(writers, batches, strict=True))
    )
    await other.close()
    return [outcome.status for each in outcomes for outcome in each]


@pytest.mark.parametrize("backwards", [False, True])
async def test_two_writers_racing_on_the_same_messages_store_each_once(
    new_writer: Writers, archive: Archive, database_url: str, tmp_path: Path, *, backwards: bool
) -> None:
    for attempt in range(5):
        batch = a_batch(f"t{attempt}")
        other = batch[::-1] if backwards else batch
        statuses = await race(new_writer, archive, database_url, tmp_path, [batch, other])
        assert statuses.count("stored") == STORED
        assert statuses.count("duplicate") == 2 * len(batch) - STORED
        # Backwards, the two messages of one id may take their uuids the other way round in each writer.
        await archive.check_complete(f"t{attempt}", left_over=2 if backwards else 0)


async def test_two_different_messages_racing_for_one_id_are_both_kept(
    new_writer: Writers, archive: Archive, database_url: str, tmp_path: Path
) -> None:
    for attempt in range(5):
        topic = f"t{attempt}"
        uuid = uuid5(NAMESPACE_URL, topic)
        first = with_id(1, uuid=uuid, topic=topic, value=b"one")
        second = with_id(2, uuid=uuid, topic=topic, value=b"two")
        statuses = await race(new_writer, archive, database_url, tmp_path, [[first], [second]])
        assert statuses == ["stored", "stored"]
        rows = await archive.rows(topic)
        payloads = {(await archive.message(row.uuid)).payload for row in rows}
        assert payloads == {b"one", b"two"}
        assert sorted(row.is_client_uuid for row in rows) == [False, True]
        await archive.check_complete(topic)


class Overtaking(MemoryStore):
    """A store that lets others act after its first put, and then takes no object of one uuid."""

    def __init__(self, inner: MemoryStore, act: Callable[[], Awaitable[None]], refused: UUID) -> None:
        self.__dict__ = dict(inner.__dict__)
        self._act: Callable[[], Awaitable[None]] | None = act
        self._refused = refused

    async def put(self, key: str, source: object, **options: object) -> Stat:
        """Put, then let others act once."""
        if str(self._refused) in key:
            raise BadInput("put an object", "no such key here")
        stat = await super().put(key, source, **options)  # type: ignore[arg-type]
        act, self._act = self._act, None
        if act is not None:
            await act()
        return stat


async def test_a_duplicate_of_a_message_that_is_overtaken_and_then_refused_is_stored(
    new_writer: Writers, archive: Archive, objects: MemoryStore, database: Database
) -> None:
    """Another message takes the client's uuid meanwhile, and the store refuses the key made up instead."""
    first = with_id(0, value=b"first")
    same_place = with_id(0, uuid=uuid5(NAMESPACE_URL, "own"), value=b"second")

    async def take_the_uuid() -> None:
        await upstream_row(database, CLIENT_UUID, value=b"another", is_client_uuid=True)

    overtaking = Overtaking(objects, take_the_uuid, made_uuid(first))
    outcomes = await new_writer(objects=overtaking).store([first, same_place])
    assert [outcome.status for outcome in outcomes] == ["refused", "stored"]
    assert (await archive.message(outcomes[1].uuid)).payload == b"second"


async def test_a_different_object_left_under_a_clients_uuid_is_never_written_over(
    new_writer: Writers, archive: Archive, objects: MemoryStore
) -> None:
    """A writer died before the row of the first message; the second comes before the first again."""
    first, second = with_id(1, value=b"first"), with_id(2, value=b"second")
    with pytest.raises(Unavailable):
        await new_writer(objects=Dying(objects, 1, after=True)).store([first])
    (left,) = await archive.keys()
    outcomes = [*await new_writer().store([second]), *await new_writer().store([first])]
    assert [(outcome.stored, outcome.is_client_uuid) for outcome in outcomes] == [
        (True, False),
        (True, True),
    ]
    assert outcomes[1].key == left
    await archive.check_complete(first.topic)


async def test_a_damaged_object_left_under_a_key_stops_nothing(
    writer: ArchiveWriter, archive: Archive, objects: MemoryStore, new_writer: Writers
) -> None:
    with pytest.raises(Unavailable):
        await new_writer(objects=Dying(objects, 1, after=True)).store([a_message()])
    (left,) = await archive.keys()
    await objects.put(left, b"damaged")
    (outcome,) = await writer.store([a_message()])
    assert outcome.stored
    assert outcome.key != left
    assert (await archive.message(outcome.uuid)).payload == b"hello"


KILLS = 5


@pytest.mark.parametrize("layout", ["objects", "packs"])
async def test_killed_at_any_moment_nothing_is_lost_or_twice(tmp_path: Path, layout: str) -> None:
    """A real process, kill -9 at moments that differ from run to run, started again until it is through."""
    seed = random.randrange(2**32)  # noqa: S311
    choose = random.Random(seed)  # noqa: S311
    for kills in range(KILLS):
        lines = 2 + kills * 2
        how = [layout, str(choose.randint(12, 24))]
        assert not await asyncio.to_thread(_run_child, tmp_path, how, lines, choose.random() / 50)
    assert await asyncio.to_thread(_run_child, tmp_path, [layout, "20"], MESSAGES, 0)
    database = Database("sqlite:", tmp_path)
    objects = FolderStore(tmp_path / "objects")
    await database.open()
    await objects.open()
    archive = Archive(objects, database)
    assert len(await archive.rows()) == MESSAGES, seed
    await archive.check_complete(CHILD_TOPIC)
    await check_packs(archive)
    await objects.close()
    await database.close()
    with sqlite3.connect(tmp_path / "headrace.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def _run_child(folder: Path, how: list[str], lines: int, delay_seconds: float) -> bool:
    """Run the child until it printed so many lines and a little longer; True when it came to its end."""
    command = [sys.executable, "-m", "tests.archive.child", str(folder), *how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        for _ in range(lines):
            if child.stdout.readline() == "done\n":
                return child.wait() == 0
        # Not a wait for anything: it moves the kill within a batch.
        threading.Event().wait(delay_seconds)
        child.send_signal(signal.SIGKILL)
    return False
