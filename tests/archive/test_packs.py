"""Packs: how they are cut, found, read without the database, and what is never put into them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive import bson, lookup
from pipeline.archive.identity import made_uuid
from pipeline.archive.packs import documents, pack_key, split
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.archive.verify import verify_message
from pipeline.database.engine import Database
from pipeline.errors import BadInput, Damaged
from pipeline.objects.location import make_store
from tests.archive.archived import TIME_MS, TOPIC, Archive, Statistics, a_message, with_id
from tests.archive.packed import check_packs, manifests, payloads
from tests.conftest import S3Server
from tests.databases import execute

Packers = Callable[..., PackWriter]


async def _chunks(data: bytes, size_bytes: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size_bytes):
        yield data[start : start + size_bytes]


_documents = st.lists(st.binary(max_size=300).map(lambda each: bson.write({"message": each})), max_size=8)


@given(_documents, st.integers(1, 700))
async def test_documents_are_found_however_a_pack_arrives(written: list[bytes], size_bytes: int) -> None:
    data = b"".join(written)
    starts = [0, *itertools.accumulate(map(len, written))]
    found = [part async for part in documents(_chunks(data, size_bytes))]
    assert found == list(split(data)) == list(zip(starts, written, strict=False))


@given(_documents.filter(bool), st.data())
async def test_a_pack_that_is_cut_off_is_never_taken_for_a_whole_one(
    written: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(written)
    ends = list(itertools.accumulate(map(len, written)))
    cut = data.draw(st.integers(1, len(whole) - 1).filter(lambda length: length not in ends))
    parts = documents(_chunks(whole[:cut], 7))
    for _ in range(sum(end <= cut for end in ends)):
        await anext(parts)
    with pytest.raises(Damaged, match="ends within"):
        await anext(parts)


@pytest.mark.parametrize("data", [b"\x00" * 8, b"\xff" * 8, b"\x05\x00\x00\x00\x01"])
def test_what_is_no_document_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        list(split(data))


def test_the_key_of_a_pack_names_topic_and_hour_of_its_first_message() -> None:
    first = a_message(7)
    uuid = made_uuid(first)
    assert pack_key(TOPIC, TIME_MS, uuid, "p/") == f"p/{TOPIC}/2023/11/14/22/{uuid}.pack"
    with pytest.raises(BadInput):
        pack_key("../etc", TIME_MS, uuid)


async def test_messages_of_a_partition_lie_in_one_object_and_are_read_one_by_one(
    new_packer: Packers, archive: Archive
) -> None:
    batch = [a_message(0), with_id(1), a_message(2, value=None), a_message(3, value=b"")]
    outcomes = await new_packer(prefix="a/", bucket="kept").store(batch)
    assert [outcome.status for outcome in outcomes] == ["stored"] * 4
    (key,) = await archive.keys()
    assert key == pack_key(TOPIC, TIME_MS, made_uuid(batch[0]), "a/")
    rows = await archive.rows()
    assert {(row.key, row.bucket) for row in rows} == {(key, "kept")}
    for message, outcome in zip(batch, outcomes, strict=True):
        assert outcome.uuid is not None
        await verify_message(archive.objects, archive.database, message, outcome.uuid)
    assert await payloads(archive, key) == [message.payload for message in batch]
    assert await archive.statistics() == {TOPIC: Statistics(TIME_MS, TIME_MS, 4)}
    await check_packs(archive)


async def test_a_message_has_the_same_bytes_in_a_pack_as_alone(
    new_packer: Packers, new_writer: Callable[..., ArchiveWriter], archive: Archive
) -> None:
    messages = [with_id(1, key=b"k"), a_message(2, headers=(("title", b"T"), ("none", None)))]
    await new_packer().store(messages)
    packed = [await lookup.read_object(archive.objects, row) for row in await archive.rows()]
    await execute(archive.database, ["DELETE FROM messages"])
    await new_writer().store(messages)
    alone = [await lookup.read_object(archive.objects, row) for row in await archive.rows()]
    assert packed == alone


async def test_what_is_stored_already_leaves_no_object_and_no_manifest(
    new_packer: Packers, archive: Archive
) -> None:
    batch = [a_message(n, value=b"%d" % n) for n in range(6)]
    await new_packer().store(batch)
    before = await archive.keys(), await manifests(archive.database), await archive.rows()
    again = await new_packer().store(batch[2:])
    assert {outcome.status for outcome in again} == {"duplicate"}
    assert (await archive.keys(), await manifests(archive.database), await archive.rows()) == before


async def test_only_what_is_new_of_a_stretch_goes_into_the_next_pack(
    new_packer: Packers, archive: Archive
) -> None:
    """The log let go of what the second pack would begin with, and compaction of something inside it."""
    values = [b"%d" % n for n in range(9)]
    batch = [a_message(n, value=value) for n, value in enumerate(values)]
    await new_packer().store(batch[2:4])
    outcomes = await new_packer().store([*batch[:4], *batch[5:]])
    assert [outcome.stored for outcome in outcomes] == [True, True, False, False, True, True, True, True]
    packs = [await payloads(archive, each.key) for each in await manifests(archive.database)]
    assert packs == [[*values[:2], *values[5:]], values[2:4]]
    await check_packs(archive)


async def test_a_message_too_large_for_a_pack_gets_an_object_of_its_own(
    new_packer: Packers, archive: Archive
) -> None:
    batch = [a_message(0), a_message(1, value=b"x" * 200_001), a_message(2)]
    outcomes = await new_packer().store(batch)
    assert [outcome.key.rpartition(".")[2] for outcome in outcomes] == ["pack", "bson", "pack"]
    await archive.check_complete(TOPIC)
    await check_packs(archive)


async def test_what_can_never_be_stored_is_refused_and_its_duplicate_stored(
    new_packer: Packers, archive: Archive
) -> None:
    bad = a_message(1, headers=(("\udc80", b""),))
    outcomes = await new_packer().store([a_message(0), bad, a_message(1), a_message(2)])
    assert [outcome.status for outcome in outcomes] == ["stored", "refused", "stored", "stored"]
    await check_packs(archive)


async def test_messages_the_database_refuses_are_told_from_the_others(
    new_packer: Packers, archive: Archive, database: Database
) -> None:
    await _refuse_titles_called_bad(database)
    bad = [a_message(n, headers=(("title", b"bad"),)) for n in (3, 7)]
    batch = [bad[0] if n == 3 else bad[1] if n == 7 else a_message(n) for n in range(10)]
    outcomes = await new_packer().store(batch)
    assert [n for n, outcome in enumerate(outcomes) if outcome.refused] == [3, 7]
    assert len(await archive.rows()) == 8
    await archive.check(TOPIC)


async def _refuse_titles_called_bad(database: Database) -> None:
    if database.kind == "postgresql":
        await execute(database, ["ALTER TABLE messages ADD CHECK (title <> 'bad')"])
        return
    refuse = "BEFORE INSERT ON messages WHEN new.title = 'bad' BEGIN SELECT RAISE(ABORT, 'bad title'); END"
    await execute(database, [f"CREATE TRIGGER refuse {refuse}"])


async def test_a_topic_that_was_emptied_by_hand_is_packed_again(
    new_packer: Packers, archive: Archive
) -> None:
    """Rows and objects were removed, manifests were not."""
    batch = [a_message(n) for n in range(4)]
    await new_packer().store(batch)
    (key,) = await archive.keys()
    await execute(archive.database, ["DELETE FROM messages"])
    await archive.objects.delete(key)
    assert all(outcome.stored for outcome in await new_packer().store(batch))
    assert await archive.keys() == [key]
    await check_packs(archive)


async def test_a_message_removed_by_hand_from_a_pack_in_use_is_stored_again(
    new_packer: Packers, archive: Archive
) -> None:
    batch = [a_message(n) for n in range(4)]
    await new_packer().store(batch)
    await execute(archive.database, ["DELETE FROM messages WHERE kafka_offset = 0"])
    (outcome, *others) = await new_packer().store(batch)
    assert outcome.stored
    assert not any(other.stored for other in others)
    await archive.check(TOPIC)
    assert len(await archive.rows()) == 4


@pytest.mark.s3
@pytest.mark.postgres
async def test_packs_in_a_real_bucket_are_read_back(
    new_writer: Callable[..., ArchiveWriter],
    database: Database,
    s3_server: S3Server,
    unique: str,
    tmp_path: Path,
) -> None:
    scheme, _, host = s3_server.endpoint.partition("://")
    url = f"s3+{scheme}://{s3_server.access_key}:{s3_server.secret_key}@{host}/{s3_server.bucket}"
    objects = make_store(f"{url}?region={s3_server.region}&prefix={unique}", data_folder=tmp_path)
    await objects.open()
    archive = Archive(objects, database)
    batch = [a_message(n, value=b"%d" % n * 500) for n in range(3000)]
    outcomes = await PackWriter(new_writer(objects=objects)).store(batch)
    assert all(outcome.stored for outcome in outcomes)
    (key,) = await archive.keys()
    assert await payloads(archive, key) == [message.payload for message in batch]
    row = (await archive.rows())[1234]
    assert (await lookup.read_message(objects, row)).payload == batch[1234].payload
    assert not any(outcome.stored for outcome in await PackWriter(new_writer(objects=objects)).store(batch))
    await objects.delete(key)
    await objects.close()
