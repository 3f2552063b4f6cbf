"""Messages moved into packs and back: the same bytes before and after, whenever the work was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.archive import lookup
from pipeline.archive.archive import Archive as OpenArchive
from pipeline.archive.message import Message
from pipeline.archive.storing.repack import Repacked, repack
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import SystemClock
from pipeline.database.engine import Database
from pipeline.errors import Conflict
from pipeline.objects.folder import FolderStore
from pipeline.objects.memory import MemoryStore
from tests.archive.archived import CLIENT_UUID, TIME_MS, Archive, a_message, upstream_row, with_id
from tests.archive.packed import check_packs, manifests, payloads
from tests.archive.stopping import StopAt

Writers = Callable[..., ArchiveWriter]
TOPIC = "repacked"


def some_messages(topic: str = TOPIC) -> list[Message]:
    """Make messages of two partitions, and some that never stood in a log, in no order."""
    placed = [
        a_message(n, topic=topic, value=b"%d/%d" % (partition, n), partition=partition)
        for n in (3, 1, 2, 0)
        for partition in (1, 0)
    ]
    return [
        *placed,
        a_message(None, topic=topic, timestamp_ms=TIME_MS + 2, value=b"later"),
        a_message(None, topic=topic, timestamp_ms=TIME_MS + 1, value=b"sooner"),
        with_id(9, topic=topic, value=b"x" * 5000, partition=0),
    ]


def opened(objects: MemoryStore | FolderStore, database: Database, **changes: bool) -> OpenArchive:
    """Give the archive as repacking sees it."""
    return OpenArchive(objects, database, SystemClock(), **changes)  # type: ignore[arg-type]


async def documents(archive: Archive, topic: str = TOPIC) -> dict[object, bytes]:
    """Give the document of every message."""
    return {row.uuid: await lookup.read_object(archive.objects, row) for row in await archive.rows(topic)}


async def test_messages_are_packed_in_the_order_of_their_partitions_and_back_again(
    writer: ArchiveWriter, archive: Archive, objects: MemoryStore, database: Database
) -> None:
    await writer.store(some_messages())
    before, keys = await documents(archive), await archive.keys()
    done = await repack(opened(objects, database), to="packs", pack_records=3, pack_bytes=4000)
    assert done == Repacked(10, 10, 5, sum(map(len, before.values())) - _largest(before), 1)
    packed = [await payloads(archive, each.key) for each in await manifests(database)]
    assert sorted(packed) == sorted(
        [
            [b"0/0", b"0/1", b"0/2"],
            [b"0/3"],
            [b"1/0", b"1/1", b"1/2"],
            [b"1/3"],
            [b"sooner", b"later"],
        ]
    )
    assert await documents(archive) == before
    await archive.check_complete(TOPIC)
    await check_packs(archive)
    assert (await repack(opened(objects, database), to="packs", pack_bytes=4000)).messages == 0
    back = await repack(opened(objects, database), to="objects")
    assert (back.messages, back.objects_before, back.objects_after) == (10, 5, 10)
    assert (await documents(archive), await archive.keys()) == (before, keys)
    assert await manifests(database) == []


def _largest(found: dict[object, bytes]) -> int:
    return max(map(len, found.values()))


async def test_a_dry_run_tells_the_same_and_changes_nothing(
    writer: ArchiveWriter, archive: Archive, objects: MemoryStore, database: Database
) -> None:
    await writer.store(some_messages())
    rows, keys = await archive.rows(), await archive.keys()
    told = await repack(opened(objects, database), to="packs", pack_records=3, dry_run=True)
    assert (await archive.rows(), await archive.keys()) == (rows, keys)
    assert told == await repack(opened(objects, database), to="packs", pack_records=3)
    told = await repack(opened(objects, database), to="objects", dry_run=True)
    assert told == await repack(opened(objects, database), to="objects")
    assert await archive.keys() == keys


async def test_only_the_topics_asked_for_are_repacked(
    writer: ArchiveWriter, archive: Archive, objects: MemoryStore, database: Database
) -> None:
    await writer.store([*some_messages("a.x"), *some_messages("b.x")])
    await repack(opened(objects, database), to="packs", topics=["a.*"])
    assert all(row.pack_offset is None for row in await archive.rows("b.x"))
    assert all(row.pack_offset is not None for row in await archive.rows("a.x"))


async def test_a_protected_archive_is_left_as_it_is(
    writer: ArchiveWriter, archive: Archive, objects: MemoryStore, database: Database
) -> None:
    await writer.store(some_messages())
    keys = await archive.keys()
    with pytest.raises(Conflict, match="protected"):
        await repack(opened(objects, database, protected=True), to="packs")
    assert await archive.keys() == keys


async def test_damaged_missing_and_foreign_objects_stay_where_they_are(
    writer: ArchiveWriter, archive: Archive, objects: MemoryStore, database: Database
) -> None:
    outcomes = await writer.store([a_message(n, value=b"%d" % n) for n in range(5)])
    await objects.put(outcomes[1].key, b"damaged")
    await objects.delete(outcomes[2].key)
    await upstream_row(database, CLIENT_UUID, value=b"", is_client_uuid=True)
    done = await repack(opened(objects, database), to="packs")
    assert (done.messages, done.skipped) == (3, 3)
    assert [await payloads(archive, each.key) for each in await manifests(database)] == [[b"0", b"3", b"4"]]


@pytest.mark.parametrize("to", ["packs", "objects"])
async def test_stopped_at_any_await_it_goes_on_and_loses_nothing(
    new_writer: Writers, database: Database, tmp_path: Path, to: str
) -> None:
    objects = FolderStore(tmp_path / "objects")
    await objects.open()
    archive, opened_archive = Archive(objects, database), opened(objects, database)
    # A server is waited for at many more moments than a file: not all of them are tried.
    moment, reached, stride = 0, True, 1 if database.kind == "sqlite" else 13
    while reached:
        moment += stride
        topic = f"t{moment}"
        await new_writer(objects=objects).store(some_messages(topic))
        before = await documents(archive, topic)
        if to == "objects":
            await repack(opened_archive, to="packs", topics=[topic], pack_records=3)
        stop = StopAt(moment)
        work = repack(opened_archive, to=to, topics=[topic], pack_records=4)  # type: ignore[arg-type]
        await stop.run(work)
        reached = stop.reached
        assert await documents(archive, topic) == before
        await repack(opened_archive, to=to, topics=[topic], pack_records=2)  # type: ignore[arg-type]
        assert await documents(archive, topic) == before
        await archive.check_complete(topic)
        assert all((row.pack_offset is None) == (to == "objects") for row in await archive.rows(topic))
    assert moment > 5
    await check_packs(archive)
    await objects.close()
