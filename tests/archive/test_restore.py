"""Archived messages played back: exactly as they were, in order, where they are wanted, or not at all."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from pipeline import limits, limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.message import Message
from pipeline.archive.restore.restore import Options, Progress, Report, Selection, restore
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.clock import ManualClock
from pipeline.errors import BadInput, Conflict, NotFound
from pipeline.log.partitioner import partition_for
from pipeline.log.port import Log, NewRecord
from tests.archive.restoring import (
    LAYOUTS,
    TIME_MS,
    content,
    contents_of,
    keep,
    keep_older,
    many,
    new_topic,
    records_of,
    shapes,
)

Writers = Callable[..., ArchiveWriter]


async def restored(kept: Archive, log: Log, *topics: str, **options: Any) -> Report:
    """Restore topics and verify what came."""
    return await restore(kept, log, Selection(topics=topics), Options(**({"verify": True} | options)))


def check_proven(report: Report, messages: int) -> None:
    """Fail unless so many messages were sent and found equal."""
    assert report.exit_status == 0
    assert report.sent_now == messages
    assert report.verified is not None
    assert sum(each.found for each in report.verified.partitions) == messages
    assert all(each.crc32 == each.found_crc32 for each in report.verified.partitions)


def made_headers(message: Message, uuid: UUID) -> tuple[tuple[str, bytes | None], ...]:
    """Give the headers a message is archived with when its uuid was made up."""
    return (*(message.headers or ()), ("_id", uuid.bytes))


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_every_shape_of_message_comes_back_exactly_and_in_order(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, layout: str
) -> None:
    messages = {partition: shapes(unique, partition) for partition in (0, 2)}
    for each in messages.values():
        await keep(writer, each, layout)
    report = await restored(kept, destination, unique, as_sent=True)
    check_proven(report, 32)
    found = await contents_of(destination, unique)
    assert found == {0: [content(each) for each in messages[0]], 1: [], 2: [*map(content, messages[2])]}


async def test_by_default_a_restored_message_keeps_the_identity_it_was_archived_with(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str
) -> None:
    messages = shapes(unique)
    outcomes = await keep(writer, messages)
    check_proven(await restored(kept, destination, unique), len(messages))
    for message, outcome, record in zip(
        messages, outcomes, (await records_of(destination, unique))[0], strict=True
    ):
        assert outcome.uuid is not None
        given = tuple(message.headers or ())
        assert record.headers == (given if outcome.is_client_uuid else made_headers(message, outcome.uuid))


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_what_was_restored_is_recognised_when_it_is_archived_again(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, layout: str
) -> None:
    await keep(writer, shapes(unique), layout)
    await new_topic(destination, unique)
    # Something stands there already, so that no message gets the offset it had.
    await destination.append([NewRecord(unique, b"k", b"first", partition=0)] * 100)
    check_proven(await restored(kept, destination, unique), 16)
    again = [Message.of(record) for record in (await records_of(destination, unique))[0][100:]]
    outcomes = await writer.store(again)
    assert {outcome.reason for outcome in outcomes} == {"Message with duplicate UUID not stored"}


async def test_messages_of_the_older_generation_are_restored_in_order_of_time(
    kept: Archive, destination: Log, unique: str
) -> None:
    await keep_older(kept, unique, 1, key="text", headers=[["a", b"1"], ["b", ""]])
    await keep_older(kept, unique, 2, key=None, headers=[])
    await keep_older(kept, unique, 3, key=b"bytes", headers=[["c", None]])
    check_proven(await restored(kept, destination, unique), 3)
    assert (await contents_of(destination, unique))[0] == [
        (TIME_MS - 3, b"bytes", b"older 3", (("c", None),)),
        (TIME_MS - 2, None, b"older 2", ()),
        (TIME_MS - 1, b"text", b"older 1", (("a", b"1"), ("b", b""))),
    ]


@pytest.mark.parametrize("topics", [1, 3, 40])
async def test_in_order_of_time_messages_of_all_topics_and_partitions_follow_each_other(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, *, topics: int
) -> None:
    for topic in range(topics):
        for partition in (0, 1):
            each = shapes(f"{unique}.{topic}", partition)[:4]
            await keep(writer, each, "packs" if partition else "objects")
    options = {"order": "time", "dest_topic": unique, "partition": "key"}
    await new_topic(destination, unique)
    report = await restored(kept, destination, *([f"{unique}.*"] if topics > 1 else []), **options)
    check_proven(report, 8 * topics)
    times = [record.timestamp_ms for record in (await records_of(destination, unique))[0]]
    assert times == sorted(times)


async def test_without_order_of_time_a_partition_keeps_the_order_of_its_offsets(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_archive, "RESTORE_PAGE_ROWS", 3)
    monkeypatch.setattr(limits_archive, "RESTORE_WINDOW_ROWS", 5)
    for partition in (0, 1):
        for message in reversed(shapes(unique, partition)):
            await keep(writer, [message])
    check_proven(await restored(kept, destination, unique, as_sent=True), 32)
    found = await contents_of(destination, unique)
    assert found == {partition: [*map(content, shapes(unique, partition))] for partition in (0, 1)}


# --- where to ---


async def test_a_destination_with_too_few_partitions_is_refused_before_anything_is_sent(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str
) -> None:
    await keep(writer, shapes(unique, 1))
    await keep(writer, shapes(f"{unique}.ok", 0))
    await new_topic(destination, unique)
    await new_topic(destination, f"{unique}.ok")
    with pytest.raises(Conflict, match=f"{unique} has 1 of 2"):
        await restored(kept, destination, unique, f"{unique}.ok")
    assert await contents_of(destination, f"{unique}.ok") == {0: []}


async def test_by_key_a_message_goes_where_its_sender_would_have_put_it(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str
) -> None:
    messages = many(unique, 60, 1)
    await keep(writer, messages, "packs")
    await new_topic(destination, unique, 4)
    check_proven(await restored(kept, destination, unique, partition="key", as_sent=True), 60)
    found = await contents_of(destination, unique)
    for partition, there in found.items():
        assert there == [content(each) for each in messages if _home(each, 4) == partition]
    assert len([each for each in found.values() if each]) > 1


def _home(message: Message, partitions: int) -> int:
    assert message.key is not None
    return partition_for(message.key, partitions)


async def test_topics_that_are_not_there_are_made_with_the_partitions_known_and_keep_what_they_get(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str
) -> None:
    await keep(writer, shapes(unique, 4))
    report = await restored(kept, destination, unique, dest_topic="new.{topic}")
    assert report.created == [f"new.{unique}"]
    spec = (await destination.describe_topics([f"new.{unique}"]))[f"new.{unique}"]
    assert (spec.partitions, spec.config["retention.ms"]) == (5, "-1")
    check_proven(report, 16)


@pytest.mark.parametrize("pattern", ["", "no/{topic}", "x" * 300])
async def test_a_name_that_is_no_topics_is_refused_before_anything_is_made(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, pattern: str
) -> None:
    await keep(writer, shapes(unique))
    with pytest.raises(BadInput):
        await restored(kept, destination, unique, dest_topic=pattern)


async def test_a_topic_that_gives_messages_a_time_of_its_own_is_refused(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str
) -> None:
    await keep(writer, shapes(unique))
    await new_topic(destination, unique, message_timestamp_type="LogAppendTime")
    with pytest.raises(Conflict, match="CreateTime"):
        await restored(kept, destination, unique)


async def test_a_topic_that_will_soon_remove_what_is_old_is_warned_of(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str
) -> None:
    await keep(writer, shapes(unique))
    await new_topic(destination, unique, retention_ms="86400000")
    report = await restored(kept, destination, unique, dry_run=True)
    assert "retention.ms" in report.warnings[0]


# --- what ---


async def test_topics_times_and_uuids_choose_together(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str
) -> None:
    messages = many(f"{unique}.a", 20, 2)
    outcomes = [
        *await keep(writer, [each for each in messages if each.partition == 0], "packs"),
        *await keep(writer, [each for each in messages if each.partition == 1]),
    ]
    await keep(writer, many(f"{unique}.b", 20, 1))
    uuids = tuple(outcome.uuid for outcome in outcomes if outcome.uuid is not None)
    selection = Selection((f"{unique}.[a]",), TIME_MS + 3, TIME_MS + 12, uuids[5:15])
    await new_topic(destination, unique)
    options = Options(dest_topic=unique, order="time", partition="key", verify=True, as_sent=True)
    check_proven(await restore(kept, destination, selection, options), 5)
    assert (await contents_of(destination, unique))[0] == [content(messages[n]) for n in (3, 5, 7, 9, 10)]


@pytest.mark.parametrize(
    "selection", [Selection(topics=("nothing.like.it",)), Selection(uuids=(UUID(int=7),))]
)
async def test_what_the_archive_has_not_is_said(
    kept: Archive, destination: Log, selection: Selection
) -> None:
    with pytest.raises(NotFound):
        await restore(kept, destination, selection, Options())


async def test_what_is_archived_meanwhile_is_not_restored_too(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archiver that listens to the destination would make it endless."""
    monkeypatch.setattr(limits_archive, "RESTORE_WINDOW_ROWS", 2)
    monkeypatch.setattr(limits_archive, "RESTORE_PAGE_ROWS", 2)
    await keep(writer, many(unique, 10, 1))
    storing: list[asyncio.Task[Any]] = []

    def archive_more(progress: Progress) -> None:
        later = Message(unique, 0, 100 + progress.messages, TIME_MS, b"k", b"later")
        storing.append(asyncio.create_task(writer.store([later])))

    report = await restore(kept, destination, Selection((unique,)), Options(), progress=archive_more)
    await asyncio.gather(*storing)
    assert (report.selected, report.sent) == (10, 10)


# --- what cannot be sent ---


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_a_damaged_message_is_reported_and_the_others_are_sent(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, layout: str
) -> None:
    outcomes = await keep(writer, many(unique, 9, 1), layout)
    key = outcomes[4].key
    stored = b"".join([chunk async for chunk in await kept.objects.get(key)])
    await kept.objects.put(key, stored.replace(b"value 4", b"value X"))
    report = await restored(kept, destination, unique)
    assert report.exit_status == 1
    assert [(each.uuid, each.kind) for each in report.failures] == [(outcomes[4].uuid, "damaged")]
    assert [each.value for each in (await records_of(destination, unique))[0]] == [
        b"value %d" % n for n in range(9) if n != 4
    ]
    assert report.verified is not None
    assert report.verified.equal


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_a_missing_object_is_reported_and_the_others_are_sent(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, layout: str
) -> None:
    outcomes = await keep(writer, many(unique, 3, 1), layout)
    await keep(writer, many(f"{unique}.other", 3, 1), layout)
    await kept.objects.delete(outcomes[1].key)
    lost = {outcome.uuid for outcome in outcomes if outcome.key == outcomes[1].key}
    look = await restored(kept, destination, unique, f"{unique}.other", dry_run=True)
    assert {each.uuid for each in look.failures} == lost
    report = await restored(kept, destination, unique, f"{unique}.other")
    assert report.exit_status == 1
    assert {each.uuid for each in report.failures} == lost
    assert report.sent == 6 - len(lost)
    assert len((await records_of(destination, f"{unique}.other"))[0]) == 3


async def test_a_message_too_large_for_its_topic_is_reported(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str
) -> None:
    fitting = Message(unique, 0, 0, TIME_MS, None, b"x" * (limits.RECORD_MAX_BYTES - 1000))
    large = Message(unique, 0, 1, TIME_MS, None, b"x" * (limits.RECORD_MAX_BYTES + 1))
    huge = Message(unique, 0, 2, TIME_MS, None, b"x" * (3 * limits.RECORD_MAX_BYTES))
    outcomes = await keep(writer, [fitting, large, huge])
    await new_topic(destination, unique)
    for dry_run in (True, False):
        report = await restored(kept, destination, unique, dry_run=dry_run)
        assert report.exit_status == 1
        assert [(each.uuid, each.kind) for each in report.failures] == [
            (outcome.uuid, "too large") for outcome in outcomes[1:]
        ]
    assert report.sent == 1


async def test_small_batches_go_to_a_topic_that_takes_small_ones_only(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str
) -> None:
    messages = [
        Message(unique, 0, n, TIME_MS + n, None, b"x" * 900, (("_id", UUID(int=n).bytes),))
        for n in range(50)
    ]
    await keep(writer, messages, "packs")
    await new_topic(destination, unique, max_message_bytes="2000")
    check_proven(await restored(kept, destination, unique), 50)
    assert (await contents_of(destination, unique))[0] == [*map(content, messages)]


@pytest.mark.parametrize(
    "size_bytes", [100, 2 * limits.RECORD_MAX_BYTES - 50_000, 3 * limits.RECORD_MAX_BYTES]
)
async def test_an_upload_goes_to_the_topic_it_was_too_large_for_if_it_fits_else_its_address_does(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, *, size_bytes: int
) -> None:
    upload = Message(
        f"{unique}+oversized",
        None,
        None,
        TIME_MS,
        b"key",
        b"x" * size_bytes,
        (("_test", b"true"), ("a", b"1")),
        direct_upload=True,
    )
    (outcome,) = await keep(writer, [upload])
    await new_topic(destination, unique, 3)
    url = "https://archive.example/api/archive"
    if size_bytes > limits.RECORD_MAX_BYTES:
        refused = await restored(kept, destination, f"{unique}+oversized")
        assert "external_url" in refused.failures[0].reason
    report = await restored(kept, destination, f"{unique}+oversized", external_url=url, as_sent=True)
    check_proven(report, 1)
    ((found,),) = [each for each in (await records_of(destination, unique)).values() if each]
    assert (found.timestamp_ms, found.key) == (TIME_MS, b"key")
    if size_bytes < limits.RECORD_MAX_BYTES:
        assert (report.placeholders, content(found)) == (0, content(upload))
    else:
        assert report.placeholders == 1
        assert found.value is not None
        assert msgspec.json.decode(found.value) == {"url": f"{url}/msg/{outcome.uuid}"}
        names = [name for name, _ in found.headers]
        assert names == ["_id", "_test", "_format"]


# --- how ---


async def test_a_dry_run_counts_and_changes_nothing(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, tmp_path: Path
) -> None:
    await keep(writer, shapes(unique, 1), "packs")
    await keep(writer, shapes(unique, 0))
    report = await restored(kept, destination, unique, dry_run=True, journal=tmp_path / "journal")
    assert report.exit_status == 0
    assert (report.selected, report.sent, report.created) == (32, 0, [unique])
    assert [
        (each.partition, each.messages, each.earliest_ms, each.latest_ms) for each in report.topics
    ] == [(partition, 16, TIME_MS, TIME_MS + 15) for partition in (0, 1)]
    assert unique not in await destination.topics()
    assert not (tmp_path / "journal").exists()


async def test_at_a_rate_messages_come_evenly(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str
) -> None:
    clock = ManualClock(dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
    await keep(writer, many(unique, 40, 1), "packs")
    seen: asyncio.Queue[int] = asyncio.Queue()
    slow = Archive(kept.objects, kept.database, clock)
    restoring = asyncio.create_task(
        restore(
            slow,
            destination,
            Selection((unique,)),
            Options(rate=40.0),
            progress=lambda progress: seen.put_nowait(progress.messages),
        )
    )
    for step in range(1, 11):
        assert await asyncio.wait_for(seen.get(), 30) == 4 * step
        assert len((await records_of(destination, unique))[0]) == 4 * step
        clock.advance(0.1)
    assert (await restoring).sent == 40


async def test_progress_reaches_everything(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str
) -> None:
    await keep(writer, many(unique, 10, 1), "packs")
    told: list[Progress] = []
    options = Options(verify=True)
    report = await restore(kept, destination, Selection((unique,)), options, progress=told.append)
    assert [(each.stage, each.messages, each.bytes) for each in told] == [
        (stage, 10, report.selected_bytes) for stage in ("sending", "verifying")
    ]


async def test_the_offset_map_says_where_each_message_is_now(
    kept: Archive, writer: ArchiveWriter, destination: Log, unique: str, tmp_path: Path
) -> None:
    messages = many(unique, 30, 2)
    for partition in (0, 1):
        await keep(writer, [each for each in messages if each.partition == partition], "packs")
    await new_topic(destination, unique, 3)
    options = {"partition": "key", "offset_map": tmp_path / "map", "as_sent": True}
    report = await restored(kept, destination, unique, **options)
    assert report.offset_map is not None
    lines = [msgspec.json.decode(line) for line in (tmp_path / "map").read_bytes().splitlines()]
    assert lines == msgspec.to_builtins(report.offset_map)
    found = await records_of(destination, unique)
    moved = {
        (each.partition, each.first + n): found[each.to_partition][each.to_first + n]
        for each in report.offset_map
        for n in range(each.count)
    }
    assert {place: content(record) for place, record in moved.items()} == {
        (each.partition, each.offset): content(each) for each in messages
    }


async def test_a_rate_below_nothing_is_refused(kept: Archive, destination: Log) -> None:
    with pytest.raises(BadInput):
        await restore(kept, destination, Selection(), Options(rate=-1))


async def test_an_empty_archive_is_restored_by_doing_nothing(kept: Archive, destination: Log) -> None:
    report = await restore(kept, destination, Selection(), Options(verify=True))
    assert (report.exit_status, report.selected, report.sent) == (0, 0, 0)
