"""Texts of stored messages, indexed again (archive contract, section 15.2), on both databases."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import bson
import pytest

from pipeline import limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.archive.text.index import Reindexed, reindex
from pipeline.clock import SystemClock
from pipeline.database.engine import Database
from pipeline.errors import Unavailable
from pipeline.objects.memory import MemoryStore
from tests.archive import archived
from tests.archive.archived import TIME_MS, a_message
from tests.archive.texts import QUIET, make_texts, search
from tests.databases import execute, rows

BATCH = [
    a_message(0, value=b'{"title": "bright comet"}', headers=(("_format", b"json"), ("sender", b"ada"))),
    a_message(
        1, value=b'{"title": "faint comet"}', headers=(("_format", b"json"),), timestamp_ms=TIME_MS + 1
    ),
    a_message(2, value=b"plain comet", timestamp_ms=TIME_MS + 2, topic="other.topic"),
    a_message(3, value=b"quiet comet", topic=QUIET),
    a_message(4, value=b"y " * 600, headers=(("title", b"long comet"),), timestamp_ms=TIME_MS + 4),
    a_message(5, value=None, headers=(("title", b"gone comet"),), timestamp_ms=TIME_MS + 5),
]
SEARCHED = 5
"""How many of them are on topics whose texts are searched."""


async def plain(blocks: Sequence[bytes]) -> list[str]:
    """Take every payload for plain text."""
    return ["text/plain"] * len(blocks)


@pytest.fixture
def whole(objects: MemoryStore, database: Database) -> Archive:
    """Give the archive as reindexing sees it."""
    return Archive(objects, database, SystemClock())


async def index_of(database: Database) -> list[tuple[Any, ...]]:
    """Give all that is indexed."""
    return await rows(database, "SELECT uuid, text_data, text_fully_indexed FROM message_ts ORDER BY uuid")


async def empty(database: Database) -> None:
    """Forget all texts."""
    await execute(database, ["DELETE FROM message_ts"])


async def again(whole: Archive, **changes: Any) -> tuple[int, int, int, int]:
    """Index again; give looked at, indexed, fully, damaged."""
    texts = changes.pop("texts", None) or make_texts()
    found = await reindex(whole, texts, plain, **changes)
    return found.looked_at, found.indexed, found.fully, found.damaged


async def test_what_was_indexed_with_the_messages_is_restored(
    new_writer: Callable[..., ArchiveWriter], whole: Archive, database: Database
) -> None:
    await new_writer(texts=make_texts(), media_types=plain).store(BATCH)
    before, found = await index_of(database), await search(database, "comet")
    assert (len(before), len(found)) == (SEARCHED, SEARCHED)
    assert await again(whole) == (0, 0, 0, 0)
    await empty(database)
    assert await search(database, "comet") == []
    assert await again(whole) == (SEARCHED, SEARCHED, SEARCHED - 1, 0)
    assert await index_of(database) == before
    assert await search(database, "comet") == found


async def test_messages_in_packs_are_indexed_as_those_alone(
    new_writer: Callable[..., ArchiveWriter], whole: Archive, database: Database
) -> None:
    batch = [a_message(n, value=b"comet %d" % n) for n in range(6)]
    packs = PackWriter(new_writer(texts=make_texts(), media_types=plain))
    await packs.store(batch)
    before = await index_of(database)
    assert len(before) == 6
    assert await rows(database, "SELECT count(DISTINCT key), count(pack_offset) FROM messages") == [(1, 6)]
    await empty(database)
    assert await again(whole) == (6, 6, 6, 0)
    assert await index_of(database) == before


async def test_partial_texts_are_looked_at_again_only_when_asked(
    writer: ArchiveWriter, whole: Archive, database: Database
) -> None:
    await writer.store(BATCH)
    assert await again(whole) == (SEARCHED, SEARCHED, SEARCHED - 1, 0)
    roomy = make_texts(message_max_bytes=10_000, max_characters=10_000)
    assert await again(whole, texts=roomy) == (0, 0, 0, 0)
    assert await search(database, "comet y") == []
    assert await again(whole, texts=roomy, partial=True) == (1, 1, 1, 0)
    assert len(await search(database, "comet y")) == 1
    assert len(await index_of(database)) == SEARCHED


async def test_time_and_topics_narrow_it_down(writer: ArchiveWriter, whole: Archive) -> None:
    await writer.store(BATCH)
    assert await again(whole, only_topics=["nothing.here", QUIET]) == (0, 0, 0, 0)
    assert await again(whole, only_topics=["[!s]*.topic"]) == (1, 1, 1, 0)
    assert await again(whole, start_time_ms=TIME_MS + 2) == (2, 2, 1, 0)
    assert await again(whole) == (2, 2, 2, 0)


async def test_oversized_messages_belong_to_their_topic(writer: ArchiveWriter, whole: Archive) -> None:
    await writer.store([a_message(None, value=b"comet", topic="some.topic+oversized"), *BATCH])
    assert await again(whole, only_topics=["some.topic"]) == (1, 1, 1, 0)


async def test_damaged_and_missing_objects_are_passed_over(
    writer: ArchiveWriter, whole: Archive, objects: MemoryStore, database: Database
) -> None:
    outcomes = await writer.store(BATCH)
    await objects.delete(outcomes[0].key)
    await objects.put(outcomes[1].key, b"no such message")
    assert await again(whole) == (SEARCHED, SEARCHED - 2, SEARCHED - 3, 2)
    assert await again(whole) == (2, 0, 0, 2)
    assert len(await search(database, "comet")) == SEARCHED - 2


async def test_a_run_that_stopped_goes_on(
    writer: ArchiveWriter, whole: Archive, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of two rows; the run ends after its second one, and the next run does the rest."""
    monkeypatch.setattr(limits_archive, "REINDEX_BATCH_MESSAGES", 2)
    monkeypatch.setattr(limits_archive, "REINDEX_READ_BYTES", 1)
    await writer.store([a_message(n, value=b"comet") for n in range(5)])
    seen: list[int] = []

    def stop_at_four(report: Reindexed) -> None:
        seen.append(report.indexed)
        if report.indexed == 4:
            raise Unavailable("go on", "it was stopped")

    with pytest.raises(Unavailable, match="stopped"):
        await again(whole, progress=stop_at_four)
    assert seen == [2, 4]
    assert await again(whole) == (1, 1, 1, 0)
    assert len(await search(database, "comet")) == 5


async def test_objects_of_the_first_generation_are_indexed_by_the_format_they_name(
    whole: Archive, objects: MemoryStore, database: Database
) -> None:
    uuid = UUID(int=7)
    await archived.upstream_row(database, uuid, value=b"", is_client_uuid=True)
    data = bson.encode(
        {
            "message": {"format": "json", "content": b'{"kept": "comet", "n": 4}'},
            "metadata": {"timestamp": TIME_MS, "headers": [["title", b"old"]], "topic": archived.TOPIC},
            "annotations": {"con_text_uuid": str(uuid)},
        }
    )
    await objects.put(f"elsewhere/{uuid}", data)
    size = f"size = {len(data)}, crc32 = {zlib.crc32(data)}"
    await execute(
        database,
        [
            f"UPDATE messages SET {size}",  # noqa: S608 - ours
            f"INSERT INTO topics VALUES ('{archived.TOPIC}', {TIME_MS}, {TIME_MS}, 1)",  # noqa: S608 - ours
        ],
    )
    assert await again(whole) == (1, 1, 1, 0)
    assert await search(database, '"title old kept comet n 4"') == [uuid]


async def test_an_empty_archive_has_nothing_to_index(whole: Archive) -> None:
    assert await again(whole) == (0, 0, 0, 0)
