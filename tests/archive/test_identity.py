"""The identity of a message, row by row of the contract's table (archive contract, section 5)."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from pipeline.archive.identity import identify, made_uuid
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.log.port import Headers
from tests.archive.archived import CLIENT_UUID, TIME_MS, Archive, a_message, with_id

OTHER_UUID = uuid.UUID("ffffffff-ffff-ffff-ffff-ffffffffffff")
ID = ("_id", CLIENT_UUID.bytes)


@pytest.mark.parametrize(
    "headers",
    [
        (ID,),
        (("title", b"T"), ID, ("title", b"U")),
        (ID, ("_id", OTHER_UUID.bytes)),
        (("_id", None), ("_id", b""), ("_id", str(OTHER_UUID).encode()), ID, ("_id", OTHER_UUID.bytes)),
    ],
    ids=["one", "among others", "several valid", "after invalid ones"],
)
async def test_the_first_valid_id_is_taken_and_no_header_changed(
    headers: Headers, writer: ArchiveWriter, archive: Archive
) -> None:
    (outcome,) = await writer.store([a_message(headers=headers)])
    assert (outcome.uuid, outcome.is_client_uuid) == (CLIENT_UUID, True)
    found = await archive.message(outcome.uuid)
    assert found.headers == headers
    assert found.annotations["added_headers"] == []
    assert found.annotations["con_is_client_uuid"] is True
    (row,) = await archive.rows()
    assert (row.uuid, row.is_client_uuid) == (CLIENT_UUID, True)


@pytest.mark.parametrize(
    "headers",
    [
        None,
        (("title", b"T"),),
        (("_id", None),),
        (("_id", b""),),
        (("_id", CLIENT_UUID.bytes + b"x"), ("_id", CLIENT_UUID.bytes[:15])),
        (("_id", str(CLIENT_UUID).encode()), ("title", None)),
        (("_ID", CLIENT_UUID.bytes),),
    ],
    ids=["no headers", "no id", "null", "empty", "wrong length", "text form", "other case"],
)
async def test_without_a_valid_id_one_is_made_and_appended(
    headers: Headers | None, writer: ArchiveWriter, archive: Archive
) -> None:
    (outcome,) = await writer.store([a_message(41, headers=headers)])
    wanted = uuid.uuid5(uuid.NAMESPACE_URL, f"kafka:alerts.demo/2/41/{TIME_MS}")
    assert (outcome.uuid, outcome.is_client_uuid) == (wanted, False)
    found = await archive.message(outcome.uuid)
    assert found.headers == (*(headers or ()), ("_id", wanted.bytes))
    assert found.headers_as_sent() == headers
    assert found.annotations["added_headers"] == ["_id"]
    assert found.annotations["con_text_uuid"] == str(wanted)
    assert outcome.key.endswith(f"/{wanted}.bson")


async def test_a_taken_id_gives_a_made_up_uuid_and_no_second_header(
    writer: ArchiveWriter, archive: Archive
) -> None:
    await writer.store([with_id(0, value=b"first")])
    (outcome,) = await writer.store([with_id(1, value=b"second")])
    assert outcome.stored
    assert (outcome.uuid, outcome.is_client_uuid) == (made_uuid(a_message(1)), False)
    found = await archive.message(outcome.uuid)
    assert found.headers == (ID,)
    assert found.annotations["added_headers"] == []
    assert found.payload == b"second"


def test_a_cluster_label_keeps_equal_places_of_two_clusters_apart() -> None:
    labelled = uuid.uuid5(uuid.NAMESPACE_URL, f"kafka:east/alerts.demo/2/0/{TIME_MS}")
    assert identify(a_message(), "east").uuid == labelled
    assert identify(a_message(), "").uuid != labelled


def test_a_message_that_never_stood_in_a_log_gets_the_same_uuid_each_time() -> None:
    first, again = (identify(a_message(None)).uuid for _ in range(2))
    other = identify(a_message(None, value=b"other")).uuid
    assert first == again != other


async def test_the_same_message_of_two_clusters_is_stored_twice(
    new_writer: Callable[..., ArchiveWriter], archive: Archive
) -> None:
    for cluster in ("east", "west", "east"):
        await new_writer(cluster=cluster).store([a_message()])
    assert [row.cluster for row in await archive.rows()] == ["east", "west"]
