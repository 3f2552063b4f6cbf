"""What verification says of a destination: equal when it is, and what differs where it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive.archive import Archive
from pipeline.archive.message import Message
from pipeline.archive.restore.restore import Options, Report, Selection, restore
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import SystemClock
from pipeline.database import tables
from pipeline.database.engine import Database
from pipeline.log.embedded.log import EmbeddedLog
from pipeline.log.port import Log, NewRecord, Record, TopicSpec
from pipeline.objects.memory import MemoryStore
from tests.archive.conftest import plain_text
from tests.archive.restoring import content, contents_of, keep, many, new_topic, opened, records_of

MESSAGES = 20
Tamper = Callable[[list[NewRecord]], None]


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """Give options with a journal."""
    return Options(journal=tmp_path / "journal", verify=True)


@pytest.fixture
async def sent(
    kept: Archive, writer: ArchiveWriter, tmp_path: Path, options: Options
) -> AsyncIterator[list[Record]]:
    """Give what a restore sent, read back."""
    await keep(writer, many("t", MESSAGES, 1), "packs")
    async with opened(EmbeddedLog(tmp_path / "log")) as log:
        assert (await restore(kept, log, Selection(), options)).exit_status == 0
        yield (await records_of(log, "t"))[0]


async def verified(
    kept: Archive, sent: list[Record], options: Options, folder: Path, tamper: Tamper
) -> Report:
    """Verify a destination that holds what was sent, tampered with."""
    records = [NewRecord("t", each.key, each.value, each.headers, 0, each.timestamp_ms) for each in sent]
    tamper(records)
    async with opened(EmbeddedLog(folder / "tampered")) as log:
        await new_topic(log, "t")
        await log.append(records)
        return await restore(kept, log, Selection(), options)


def change(index: int, **fields: Any) -> Tamper:
    """Change a record."""

    def tamper(records: list[NewRecord]) -> None:
        records[index] = msgspec.structs.replace(records[index], **fields)

    return tamper


def exchange(records: list[NewRecord]) -> None:
    """Exchange two records."""
    records[3], records[4] = records[4], records[3]


@pytest.mark.parametrize(
    ("tamper", "differences"),
    [
        (change(7, value=b"another"), [(7, "other value")]),
        (change(7, value=None), [(7, "other value")]),
        (change(7, key=None), [(7, "other key")]),
        (change(7, headers=()), [(7, "other headers")]),
        (change(7, headers=(("_id", None),), timestamp_ms=1), [(7, "other time, headers")]),
        (exchange, [(3, "other time, key, value, headers"), (4, "other time, key, value, headers")]),
    ],
)
async def test_a_destination_that_was_tampered_with_is_found_out(
    kept: Archive,
    sent: list[Record],
    options: Options,
    tmp_path: Path,
    tamper: Tamper,
    *,
    differences: list[tuple[int, str]],
) -> None:
    report = await verified(kept, sent, options, tmp_path, tamper)
    assert report.verified is not None
    assert (report.exit_status, report.verified.equal) == (1, False)
    (partition,) = report.verified.partitions
    assert partition.crc32 != partition.found_crc32
    assert (partition.messages, partition.different) == (MESSAGES, len(differences))
    assert [(each.offset, each.what) for each in report.verified.differences] == differences


async def test_an_untouched_copy_of_the_destination_is_equal(
    kept: Archive, sent: list[Record], options: Options, tmp_path: Path
) -> None:
    report = await verified(kept, sent, options, tmp_path, lambda _: None)
    assert report.exit_status == 0


async def test_a_message_that_stands_there_twice_is_found_out(
    kept: Archive, sent: list[Record], options: Options, tmp_path: Path
) -> None:
    report = await verified(kept, sent, options, tmp_path, lambda records: records.append(records[-2]))
    assert report.verified is not None
    assert [each.repeated for each in report.verified.partitions] == [1]
    assert report.exit_status == 1


async def test_what_others_sent_there_is_counted_and_no_difference(
    kept: Archive, sent: list[Record], options: Options, tmp_path: Path
) -> None:
    other = NewRecord("t", b"k", b"from another", partition=0)
    report = await verified(kept, sent, options, tmp_path, lambda records: records.append(other))
    assert report.verified is not None
    assert [each.others for each in report.verified.partitions] == [1]
    assert report.exit_status == 0


async def test_what_the_destination_has_removed_is_named(
    kept: Archive, sent: list[Record], options: Options, tmp_path: Path
) -> None:
    async with opened(EmbeddedLog(tmp_path / "aging")) as log:
        aging = {"retention.ms": "1000", "segment.bytes": "1"}
        await log.create_topics([TopicSpec("t", config=aging)])
        for each in sent:
            await log.append([NewRecord("t", each.key, each.value, each.headers, 0, each.timestamp_ms)])
        await log.append([NewRecord("t", b"k", b"keeps the end", partition=0)])
        await log.tidy()
        report = await restore(kept, log, Selection(), options)
    assert report.verified is not None
    (partition,) = report.verified.partitions
    assert partition.missing == MESSAGES
    assert (report.verified.differences[0].offset, report.verified.differences[0].what) == (
        0,
        "it is not there",
    )
    assert report.exit_status == 1


async def test_what_the_archive_lost_since_is_no_proof_of_anything(
    kept: Archive, sent: list[Record], options: Options, tmp_path: Path
) -> None:
    del sent

    async def forget(connection: AsyncConnection) -> None:
        await connection.execute(delete(tables.messages).where(tables.messages.c.kafka_offset == 5))

    await kept.database.write("test", forget)
    async with opened(EmbeddedLog(tmp_path / "log")) as log:
        report = await restore(kept, log, Selection(), options)
    assert report.verified is not None
    assert [(each.offset, each.what) for each in report.verified.differences] == [
        (5, "the archive has it no more")
    ]
    assert report.exit_status == 1


HEADERS = st.none() | st.lists(
    st.tuples(st.sampled_from(["_id", "a", "_format", "ü"]), st.none() | st.binary(max_size=20)), max_size=4
).map(tuple)
MESSAGE = st.builds(
    Message,
    topic=st.sampled_from(["one", "two"]),
    partition=st.integers(0, 2),
    offset=st.integers(0, 2**40),
    timestamp_ms=st.integers(0, 2**45),
    key=st.none() | st.binary(max_size=8),
    value=st.none() | st.binary(max_size=40),
    headers=HEADERS,
)


@given(
    messages=st.lists(
        MESSAGE, max_size=25, unique_by=lambda each: (each.topic, each.partition, each.offset)
    ),
    packed=st.booleans(),
    options=st.builds(
        Options,
        dest_topic=st.sampled_from(["{topic}", "copy.{topic}", "all"]),
        as_sent=st.booleans(),
        order=st.sampled_from(["offset", "time"]),
        partition=st.sampled_from(["keep", "key"]),
        verify=st.just(True),
    ),
)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
async def test_any_messages_archived_and_restored_are_equal(
    messages: list[Message], options: Options, *, packed: bool
) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        archive, log = await _open(stack, folder)
        writer = ArchiveWriter(
            archive.objects, archive.database, clock=archive.clock, media_types=plain_text
        )
        kept = []
        for place in sorted({(each.topic, each.partition) for each in messages}):
            here = [each for each in messages if (each.topic, each.partition) == place]
            here.sort(key=lambda each: each.offset or 0)
            kept += await _stored(writer, here, packed=packed)
        report = await restore(archive, log, Selection(), options)
        assert (report.exit_status, report.sent) == (0, len(kept))
        found = [
            each
            for name in await log.topics()
            for there in (await contents_of(log, name)).values()
            for each in there
        ]
    if options.as_sent:
        assert sorted(map(repr, found)) == sorted(repr(content(each)) for each in kept)


async def _stored(writer: ArchiveWriter, messages: list[Message], *, packed: bool) -> list[Message]:
    """Archive messages; return those that were no repeats of others."""
    outcomes = await (PackWriter(writer) if packed else writer).store(messages)
    return [each for each, outcome in zip(messages, outcomes, strict=True) if outcome.stored]


async def _open(stack: AsyncExitStack, folder: Path) -> tuple[Archive, Log]:
    database, objects, log = (
        Database("sqlite:", folder),
        MemoryStore(folder / "s"),
        EmbeddedLog(folder / "log"),
    )
    for part in (database, objects, log):
        stack.push_async_callback(part.close)
        await part.open()
    return Archive(objects, database, SystemClock()), log
