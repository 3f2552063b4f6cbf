"""Duplicates: none stored, nothing else lost (archive contract, section 10), on both databases."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from uuid import UUID

import pytest

from pipeline.archive.identity import made_uuid
from pipeline.archive.message import Message
from pipeline.archive.storing import dedupe
from pipeline.archive.storing.packing import PackWriter
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.database.engine import Database
from tests.archive.archived import CLIENT_UUID, TIME_MS, TOPIC, Archive, a_message, upstream_row, with_id

OTHER_UUID = UUID("11111111-2222-4333-8444-555555555555")
Writers = Callable[..., ArchiveWriter]


@pytest.fixture(params=["objects", "packs"])
def new_writer(request: pytest.FixtureRequest, new_writer: Writers) -> Writers:
    """Give a maker of writers of either layout."""
    if request.param == "objects":
        return new_writer
    return lambda **changes: PackWriter(new_writer(**changes))  # type: ignore[return-value]


async def outcome_after(writer: ArchiveWriter, first: Message, second: Message, *, together: bool) -> str:
    """Store two messages, in one batch or in two, and say what became of the second."""
    if together:
        outcomes = await writer.store([first, second])
    else:
        outcomes = [*await writer.store([first]), *await writer.store([second])]
    assert outcomes[0].stored
    return outcomes[1].reason or outcomes[1].status


@pytest.fixture(params=[False, True], ids=["batches", "one batch"])
def together(request: pytest.FixtureRequest) -> bool:
    """Whether the second message comes in the batch of the first."""
    return bool(request.param)


async def test_rule_1_the_same_place_is_never_stored_twice(
    writer: ArchiveWriter, *, together: bool
) -> None:
    same_place = a_message(5, value=b"other bytes", headers=(("_id", OTHER_UUID.bytes),))
    assert await outcome_after(writer, a_message(5), same_place, together=together) == dedupe.SAME_PLACE


@pytest.mark.parametrize("change", ["offset", "partition", "topic", "timestamp_ms"])
async def test_another_place_is_never_taken_for_the_same(
    writer: ArchiveWriter, archive: Archive, change: str, *, together: bool
) -> None:
    other = {"offset": 6, "partition": 3, "topic": "alerts.else", "timestamp_ms": TIME_MS + 1}[change]
    first = a_message(5)
    second = Message(**({name: getattr(first, name) for name in first.__struct_fields__} | {change: other}))
    assert await outcome_after(writer, first, second, together=together) == "stored"
    assert len({(row.key, row.pack_offset) for row in await archive.rows()}) == 2


async def test_rule_2_a_mirrored_message_is_never_stored_twice(
    writer: ArchiveWriter, *, together: bool
) -> None:
    assert await outcome_after(writer, with_id(5), with_id(900), together=together) == dedupe.SAME_UUID


async def test_rule_2_compares_the_crc_where_upstream_kept_no_hash(
    writer: ArchiveWriter, database: Database
) -> None:
    await upstream_row(database, CLIENT_UUID, value=b"hello", is_client_uuid=True)
    outcomes = await writer.store([with_id(5), with_id(6, value=b"else")])
    assert [outcome.status for outcome in outcomes] == ["duplicate", "stored"]
    assert outcomes[0].reason == dedupe.SAME_UUID


async def test_rule_2_never_takes_an_equal_crc_for_an_equal_payload(
    writer: ArchiveWriter, *, together: bool
) -> None:
    first, second = with_id(5, value=b"plumless"), with_id(6, value=b"buckeroo")
    assert zlib.crc32(b"plumless") == zlib.crc32(b"buckeroo")
    assert await outcome_after(writer, first, second, together=together) == "stored"


async def test_rule_3_is_not_for_messages_with_a_uuid_of_their_own(
    writer: ArchiveWriter, database: Database
) -> None:
    await upstream_row(database, OTHER_UUID, value=b"hello", is_client_uuid=False)
    (outcome,) = await writer.store([with_id(5)])
    assert (outcome.stored, outcome.uuid) == (True, CLIENT_UUID)


async def test_rule_3_a_message_upstream_gave_a_uuid_is_never_stored_twice(
    writer: ArchiveWriter, database: Database
) -> None:
    await upstream_row(database, OTHER_UUID, value=b"hello", is_client_uuid=False)
    (outcome,) = await writer.store([a_message(5)])
    assert outcome.reason == dedupe.SAME_CONTENT


async def test_rule_3_holds_for_an_id_that_belongs_to_another_message(
    writer: ArchiveWriter, database: Database
) -> None:
    await upstream_row(database, CLIENT_UUID, value=b"another", is_client_uuid=True)
    await upstream_row(database, OTHER_UUID, value=b"hello", is_client_uuid=False)
    (outcome,) = await writer.store([with_id(5)])
    assert outcome.reason == dedupe.SAME_CONTENT


async def test_rule_3_is_for_messages_that_never_stood_in_a_log_too(
    writer: ArchiveWriter, *, together: bool
) -> None:
    reason = await outcome_after(writer, a_message(None), a_message(None), together=together)
    assert reason == dedupe.SAME_CONTENT


async def test_equal_payloads_in_the_same_millisecond_are_both_kept(
    writer: ArchiveWriter, database: Database, *, together: bool
) -> None:
    """Upstream drops the second: rule 3 must not look at rows whose place or sender's uuid is known."""
    await upstream_row(database, OTHER_UUID, value=b"hello", is_client_uuid=True)
    assert await outcome_after(writer, a_message(5), a_message(6), together=together) == "stored"


@pytest.mark.parametrize(
    "changed", [{"value": b"else"}, {"timestamp_ms": TIME_MS + 1}, {"topic": "alerts.else"}]
)
async def test_rule_4_a_different_message_that_reuses_an_id_is_kept(
    writer: ArchiveWriter, archive: Archive, changed: dict[str, object], *, together: bool
) -> None:
    second = with_id(6, **changed)  # type: ignore[arg-type]
    assert await outcome_after(writer, with_id(5), second, together=together) == "stored"
    first_row, second_row = await archive.rows()
    assert (first_row.uuid, first_row.is_client_uuid) == (CLIENT_UUID, True)
    assert (second_row.uuid, second_row.is_client_uuid) == (made_uuid(second), False)
    assert await outcome_after_again(writer, second) == dedupe.SAME_PLACE


async def outcome_after_again(writer: ArchiveWriter, message: Message) -> str:
    """Store a message once more and say what became of it."""
    (outcome,) = await writer.store([message])
    return outcome.reason


async def test_a_made_up_uuid_that_a_client_used_before_loses_neither_message(
    writer: ArchiveWriter, archive: Archive
) -> None:
    """Somebody sends, as its own id, the uuid the archive will compute for another message."""
    later = a_message(5)
    thief = with_id(0, uuid=made_uuid(later), value=b"thief")
    outcomes = [*await writer.store([thief]), *await writer.store([later])]
    assert all(outcome.stored for outcome in outcomes)
    assert [row.uuid for row in await archive.rows()] == [made_uuid(later), made_uuid(later, attempt=1)]
    assert await outcome_after_again(writer, later) == dedupe.SAME_PLACE


async def test_many_messages_with_one_id_are_all_kept(writer: ArchiveWriter, archive: Archive) -> None:
    batch = [with_id(offset, value=b"%d" % offset) for offset in range(20)]
    assert all(outcome.stored for outcome in await writer.store(batch))
    assert not any(outcome.stored for outcome in await writer.store(batch))
    assert len(await archive.rows()) == 20
    await archive.check_complete(TOPIC)


class TestUpstreamRule:
    """What upstream's second generation counts as a duplicate, on request."""

    async def test_equal_content_is_a_duplicate_whatever_its_id(
        self, new_writer: Writers, *, together: bool
    ) -> None:
        second = with_id(6, uuid=OTHER_UUID)
        writer = new_writer(rule="upstream")
        reason = await outcome_after(writer, with_id(5), second, together=together)
        assert reason == dedupe.SAME_CONTENT

    async def test_a_taken_id_is_replaced(
        self, new_writer: Writers, archive: Archive, *, together: bool
    ) -> None:
        second = with_id(6, value=b"else")
        reason = await outcome_after(new_writer(rule="upstream"), with_id(5), second, together=together)
        assert reason == "stored"
        assert [row.is_client_uuid for row in await archive.rows()] == [True, False]

    async def test_the_same_place_is_a_duplicate_though_upstream_does_not_look(
        self, new_writer: Writers
    ) -> None:
        reason = await outcome_after(
            new_writer(rule="upstream"), a_message(5), a_message(5, value=b"else"), together=False
        )
        assert reason == dedupe.SAME_PLACE
