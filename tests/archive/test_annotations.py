"""What is derived from a message (archive contract, section 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from pipeline.archive.headers import read
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.errors import ParserCrash
from pipeline.log.port import Headers
from tests.archive.archived import Archive, a_message

FORMATS = {
    b"voevent": "application/x.voevent",
    b"gcntextnotice": "application/x.gcn.notice",
    b"circular": "application/x.gcn.circular",
    b"json": "application/json",
    b"avro": "application/avro",
    b"external": "message/x.hop.external+json",
    b"blob": None,
    b"else": None,
    b"\xff": None,
}


@pytest.mark.parametrize("label", FORMATS)
def test_a_format_label_names_the_media_type(label: bytes) -> None:
    assert read((("_format", label),)).media_type == FORMATS[label]


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ([b"json", b"avro"], "application/avro"),
        ([b"json", b"unknown", None], "application/json"),
        ([b"json", b"blob"], None),
        ([b"blob", b"json"], "application/json"),
    ],
)
def test_the_last_recognised_label_wins(labels: list[bytes | None], wanted: str | None) -> None:
    assert read(tuple(("_format", label) for label in labels)).media_type == wanted


def test_the_first_header_that_is_text_is_taken() -> None:
    headers: Headers = (("title", None), ("title", b"\xff"), ("Title", b"no"), ("title", b"yes"))
    assert read(headers).texts == {"title": "yes"}
    assert read(None).texts == {}


class Asked:
    """A teller of media types that keeps what it was asked and breaks on one block."""

    def __init__(self, breaks_on: bytes = b"\0") -> None:
        self.blocks: list[bytes] = []
        self._breaks_on = breaks_on

    async def __call__(self, blocks: Sequence[bytes]) -> list[str]:
        """Tell text of every block."""
        self.blocks += blocks
        if any(block.startswith(self._breaks_on) for block in blocks):
            raise ParserCrash("tell the media type")
        return ["text/plain"] * len(blocks)


async def test_only_unlabelled_payloads_are_asked_and_only_their_start(
    new_writer: Callable[..., ArchiveWriter], archive: Archive
) -> None:
    asked = Asked()
    labelled = a_message(0, headers=(("_format", b"json"),))
    blob = a_message(1, value=b"x" * 5000, headers=(("_format", b"blob"),))
    await new_writer(media_types=asked).store([labelled, blob, a_message(2, value=b""), a_message(3)])
    assert asked.blocks == [b"x" * 4096, b"hello"]
    told = [row.media_type for row in await archive.rows()]
    assert sorted(told) == ["application/json", "application/x-empty", "text/plain", "text/plain"]


async def test_a_payload_that_breaks_the_parser_costs_no_other_message_its_media_type(
    new_writer: Callable[..., ArchiveWriter], archive: Archive
) -> None:
    batch = [a_message(0), a_message(1, value=b"\0bad"), a_message(2)]
    outcomes = await new_writer(media_types=Asked()).store(batch)
    told = [(await archive.message(outcome.uuid)).annotations["media_type"] for outcome in outcomes]
    assert told == ["text/plain", "application/octet-stream", "text/plain"]


async def test_annotations_stand_in_the_contracts_order(
    new_writer: Callable[..., ArchiveWriter], archive: Archive
) -> None:
    message = a_message(
        7, value=None, headers=(("_test", b"true"), ("_sender", b"me")), timestamp_type="create"
    )
    (outcome,) = await new_writer(cluster="east", public=lambda _: False).store([message])
    found = (await archive.message(outcome.uuid)).annotations
    assert list(found) == [
        "con_text_uuid",
        "con_is_client_uuid",
        "con_message_crc32",
        "public",
        "direct_upload",
        "media_type",
        "title",
        "sender",
        "file_name",
        "originator",
        "partition",
        "offset",
        "added_headers",
        "null_payload",
        "timestamp_type",
        "cluster",
        "ingest_time",
        "sha256",
        "test",
    ]
    assert (found["public"], found["sender"], found["null_payload"]) == (False, "me", True)
    assert (found["partition"], found["offset"], found["cluster"]) == (2, 7, "east")
    assert found["ingest_time"] == 1_704_164_645_000


async def test_access_to_an_oversized_message_is_that_of_its_topic(
    new_writer: Callable[..., ArchiveWriter], archive: Archive
) -> None:
    writer = new_writer(public=lambda topic: topic == "open")
    await writer.store([a_message(0, topic="open+oversized"), a_message(1, topic="closed+oversized")])
    public = {row.topic: row.public for row in await archive.rows()}
    assert public == {"open+oversized": True, "closed+oversized": False}
