"""Messages handed in over HTTP: taken whole or refused with the reason, durable when answered."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import bson
import msgspec
import pytest

from pipeline import limits, limits_archive
from pipeline.archive import lookup
from pipeline.clock import ManualClock
from pipeline.metrics_archive import UPLOADS
from tests.stores import bytes_of, s3_url
from tests.web.archive_site import (
    PRIVATE,
    PUBLIC,
    TIME_MS,
    TOKEN,
    Answer,
    ArchiveSite,
    archive_site,
    memory_bytes,
)

BEARER = {"Authorization": f"Bearer {TOKEN}"}
LARGE = 3 * limits.CHUNK_BYTES + 7


async def _post(archive: ArchiveSite, body: Any, topic: str = PUBLIC, **headers: str) -> Answer:
    return await archive.ask(f"/topic/{topic}", "POST", data=body, headers={**BEARER, **headers})


def _body(message: Any = b"hello", **more: Any) -> bytes:
    return bson.encode({"message": message, **more})


async def _stored(archive: ArchiveSite, answer: Answer) -> dict[str, Any]:
    """Return the document an upload became, which its row must describe."""
    assert answer.status == 201, answer
    row = await archive.row(UUID(answer.document["archive_uuid"]))
    document = dict(bson.decode(await archive.object(row)))
    assert row.is_client_uuid is answer.document["is_client_uuid"]
    assert row.sha256 == hashlib.sha256(document["message"]).digest()
    return document


@pytest.mark.parametrize("topic", [PUBLIC, f"{PRIVATE}+oversized"])
async def test_an_upload_is_durable_as_it_was_sent(any_archive: ArchiveSite, topic: str) -> None:
    uuid = uuid4()
    headers = [["a", b"1"], ["_id", uuid.bytes], ["a", b"2"], ["title", b"T"]]
    before_ms = int(any_archive.site.parts.clock.unix() * 1000)
    answer = await _post(any_archive, _body(headers=headers, key=b"k"), topic)
    assert answer.headers["Content-Type"] == "application/bson"
    assert answer.document == {"archive_uuid": str(uuid), "is_client_uuid": True}
    document = await _stored(any_archive, answer)
    assert document["message"] == b"hello"
    assert document["metadata"]["headers"] == [*headers, ["_sender", b"dave"]]
    assert document["metadata"]["key"] == b"k"
    assert document["metadata"]["topic"] == topic
    after_ms = int(any_archive.site.parts.clock.unix() * 1000)
    assert before_ms <= document["metadata"]["timestamp"] <= after_ms
    notes = document["annotations"]
    assert notes["direct_upload"] is True
    assert notes["public"] is (topic == PUBLIC)
    assert "partition" not in notes
    assert "offset" not in notes
    row = await any_archive.row(uuid)
    assert (row.direct_upload, row.kafka_partition, row.kafka_offset) == (True, None, None)
    assert (row.title, row.sender) == ("T", "dave")


async def test_headers_may_be_a_mapping_and_left_out(archive: ArchiveSite) -> None:
    document = await _stored(archive, await _post(archive, _body(headers={"a": b"1", "_sender": b"me"})))
    assert document["metadata"]["headers"][:2] == [["a", b"1"], ["_sender", b"me"]]
    assert [name for name, _ in document["metadata"]["headers"]].count("_sender") == 1
    for body in (_body(b"1"), _body(b"2", headers=None), _body(b"3", headers=[]), _body(b"4", headers={})):
        document = await _stored(archive, await _post(archive, body))
        (sender, identity) = document["metadata"]["headers"]
        assert sender == ["_sender", b"dave"]
        assert identity == ["_id", UUID(document["annotations"]["con_text_uuid"]).bytes]
        assert document["annotations"]["added_headers"] == ["_id"]


async def test_a_missing_key_is_stored_as_no_bytes_and_a_text_as_its_own(archive: ArchiveSite) -> None:
    assert (await _stored(archive, await _post(archive, _body(b"1"))))["metadata"]["key"] == b""
    assert (await _stored(archive, await _post(archive, _body(b"2", key="kü"))))["metadata"][
        "key"
    ] == "kü".encode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Request must be valid BSON"),
        (b"no bson at all", "Request must be valid BSON"),
        (_body()[:-1], "Request must be valid BSON"),
        (_body() + b"\0", "Request must be valid BSON"),
        (struct.pack("<i", 4), "Request must be valid BSON"),
        (struct.pack("<i", -1) + _body()[4:], "Request must be valid BSON"),
        (_body()[:4] + b"\x05message\0" + struct.pack("<i", -2) + b"\0\0", "Request must be valid BSON"),
        (
            _body()[:4] + b"\x05message\0" + struct.pack("<i", 2**31 - 1) + b"\0",
            "Request must be valid BSON",
        ),
        (_body()[:4] + b"\x05" + b"m" * 2000, "Request must be valid BSON"),
        (_body()[:4] + b"\x99message\0\0", "Request must be valid BSON"),
        (_body(headers="\ud7ff")[:-6] + b"\xff\xff\xff\0\0", "Request must be valid BSON"),
        (bson.encode({"message": b"x", "topic": "y"}), "Unsupported key in request body: topic"),
        (bson.encode({"headers": []}), "Missing message key in request body"),
        (bson.encode({}), "Missing message key in request body"),
        (_body("text"), "Message is not binary data"),
        (_body(None), "Message is not binary data"),
        (_body({"format": "blob", "content": b"x"}), "Message is not binary data"),
        (_body(headers=[["a", "text"]]), "Header with key a is not binary data"),
        (_body(headers={"a": None}), "Header with key a is not binary data"),
        (_body(headers={"b": b"1", "a": 1}), "Header with key a is not binary data"),
        (_body(headers=b"x"), "Headers must be a mapping or a list of pairs"),
        (_body(headers=[["a"]]), "Headers must be a mapping or a list of pairs"),
        (_body(headers=[[1, b"x"]]), "Headers must be a mapping or a list of pairs"),
        (_body(headers=["ab"]), "Headers must be a mapping or a list of pairs"),
        (_body(key=5), "Message key is not binary or a string"),
        (_body(key=None), "Message key is not binary or a string"),
    ],
)
async def test_what_is_not_as_it_must_be_is_a_400_with_the_reason(
    archive: ArchiveSite, body: bytes, said: str
) -> None:
    answer = await _post(archive, body)
    assert (answer.status, answer.message) == (400, said)
    assert (await archive.list("/messages/count"))["count"] == 0


async def test_headers_nested_without_end_are_refused(archive: ArchiveSite) -> None:
    nested = b"\x05\0\0\0\0"
    for _ in range(50_000):
        nested = struct.pack("<i", len(nested) + 8) + b"\x03a\0" + nested + b"\0"
        if len(nested) > 900_000:
            break
    body = b"\x03headers\0" + nested + b"\0"
    answer = await _post(archive, struct.pack("<i", len(body) + 4) + body)
    assert (answer.status, answer.message) == (400, "Request must be valid BSON")


async def test_uploads_at_the_same_moment_are_all_taken(
    archive: ArchiveSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_archive, "ARCHIVE_UPLOAD_MEMORY_BYTES", 1000)
    payloads = [
        bytes_of(LARGE, str(number)) for number in range(2 * limits_archive.ARCHIVE_UPLOADS_AT_ONCE)
    ]
    answers = await asyncio.gather(*(_post(archive, _pieces(_body(payload))) for payload in payloads))
    stored = [(await _stored(archive, answer))["message"] for answer in answers]
    assert stored == payloads
    assert _left(archive) == []


async def test_a_key_twice_is_no_bson_of_ours(archive: ArchiveSite) -> None:
    one = _body()
    twice = struct.pack("<i", 2 * len(one) - 5) + one[4:-1] + one[4:]
    answer = await _post(archive, twice)
    assert (answer.status, answer.message) == (400, "Request must be valid BSON")


async def test_headers_that_would_fill_the_memory_are_refused(
    archive: ArchiveSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_archive, "ARCHIVE_UPLOAD_REST_BYTES", 1000)
    answer = await _post(archive, _body(headers={"a": bytes(1001)}))
    assert (answer.status, answer.message) == (400, "Headers and key have more than 1000 bytes")


async def test_a_topic_that_is_none_is_refused(archive: ArchiveSite) -> None:
    answer = await _post(archive, _body(), "alerts.p%20x")
    assert answer.status == 422
    assert "is not the name of a topic" in answer.message


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_above_the_limit_is_a_413(tmp_path: Path, chunked: bool) -> None:
    async with archive_site(tmp_path, object_max_bytes="64KiB") as archive:
        body = _body(bytes(65_536 - len(_body(b""))))
        assert len(body) == 65_536
        assert (await _post(archive, _pieces(body) if chunked else body)).status == 201
        body = _body(bytes(65_537 - len(_body(b""))))
        answer = await _post(archive, _pieces(body) if chunked else body)
        assert (answer.status, answer.message) == (413, "Message is too large; the limit is 65536 bytes")
        assert (await archive.list("/messages/count"))["count"] == 1


async def _pieces(body: bytes, step: int = 10_007) -> AsyncIterator[bytes]:
    for start in range(0, len(body), step):
        yield body[start : start + step]


async def test_a_read_only_archive_takes_nothing(tmp_path: Path) -> None:
    async with archive_site(tmp_path, read_only=True) as archive:
        answer = await _post(archive, _body())
        assert (answer.status, answer.message) == (501, "This archive is read-only")


async def test_the_same_upload_again_is_a_422(any_archive: ArchiveSite) -> None:
    """Its time is another one by then: its id, topic and payload tell it."""
    uuid = uuid4()
    body = _body(headers=[["_id", uuid.bytes]])
    assert (await _post(any_archive, body)).status == 201
    await asyncio.sleep(0.002)  # the next millisecond
    again = await _post(any_archive, body)
    assert (again.status, again.message) == (422, "Message with duplicate UUID not stored")
    # Anything else under the same id is another message.
    for body, topic in (
        (_body(b"other", headers=[["_id", uuid.bytes]]), PUBLIC),
        (_body(headers=[["_id", uuid.bytes]]), PRIVATE),
    ):
        answer = await _post(any_archive, body, topic)
        assert answer.document["is_client_uuid"] is False
        assert UUID(answer.document["archive_uuid"]) != uuid


async def test_of_equal_uploads_at_once_one_is_taken(any_archive: ArchiveSite) -> None:
    body = _body(headers=[["_id", uuid4().bytes]])
    answers = await asyncio.gather(*(_post(any_archive, body) for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [201, 422, 422, 422]


async def test_without_an_id_only_the_same_moment_tells_a_repeat(tmp_path: Path) -> None:
    clock = ManualClock(dt.datetime.fromtimestamp(TIME_MS / 1000, dt.UTC))
    async with archive_site(tmp_path, clock) as archive:
        assert (await _post(archive, _body())).status == 201
        again = await _post(archive, _body())
        assert again.status == 422
        assert "duplicate topic, timestamp and payload" in again.message
        clock.advance(1)
        assert (await _post(archive, _body())).status == 201


async def test_what_became_of_uploads_is_counted(archive: ArchiveSite) -> None:
    def counted() -> dict[str, float]:
        results = ("stored", "duplicate", "refused")
        return {result: UPLOADS.labels(result)._value.get() for result in results}  # noqa: SLF001

    before = counted()
    body = _body(headers=[["_id", uuid4().bytes]])
    for sent in (body, body, b"no bson"):
        await _post(archive, sent)
    assert {name: value - before[name] for name, value in counted().items()} == {
        "stored": 1,
        "duplicate": 1,
        "refused": 1,
    }


async def test_an_upload_is_answered_in_json_on_request(archive: ArchiveSite) -> None:
    answer = await _post(archive, _body(), Accept="application/json")
    assert set(msgspec.json.decode(answer.body)) == {"archive_uuid", "is_client_uuid"}


async def test_the_text_of_an_upload_is_searched_where_the_policy_says_so(tmp_path: Path) -> None:
    async with archive_site(tmp_path) as archive:
        text = archive.policy_file.read_text()
        searched = text.replace(
            "publicly_readable = true", "publicly_readable = true\nindex_archived_text = true"
        )
        await asyncio.to_thread(archive.policy_file.write_text, searched)
        await _post(archive, _body(b"a supernova", headers={"_format": b"json"}))
        await _post(
            archive, _body(b'{"a": "a supernova"}', headers={"_format": b"json", "title": b"comet"})
        )
        assert len((await archive.list("/messages", search_query="comet"))["messages"]) == 1


# --- large uploads ---


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("headers", [[["_id", uuid4().bytes]], []])
async def test_a_large_upload_goes_through_local_disk(
    any_archive: ArchiveSite, monkeypatch: pytest.MonkeyPatch, order: str, headers: list[Any]
) -> None:
    monkeypatch.setattr(limits_archive, "ARCHIVE_UPLOAD_MEMORY_BYTES", 1000)
    payload = bytes_of(LARGE)
    parts = {"message": payload, "headers": [*headers, ["a", b"1"]], "key": b"k"}
    body = bson.encode(parts if order == "first" else dict(reversed(parts.items())))
    answer = await _post(any_archive, _pieces(body))
    document = await _stored(any_archive, answer)
    assert document["message"] == payload
    assert document["metadata"]["key"] == b"k"
    read = await any_archive.ask(f"/msg/{answer.document['archive_uuid']}/raw_file/x", headers=BEARER)
    assert read.body == payload
    if headers:
        assert (await _post(any_archive, body)).status == 422
    assert _left(any_archive) == []


def _left(archive: ArchiveSite) -> list[Path]:
    """List what lies in the folder for unfinished uploads."""
    spool = archive.site.folder / "spool"
    return [path for path in spool.glob("*/*") if path.is_file()]


async def test_nothing_is_left_of_an_upload_that_breaks_off(
    archive: ArchiveSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_archive, "ARCHIVE_UPLOAD_MEMORY_BYTES", 1000)
    body = _body(bytes_of(LARGE))

    async def broken() -> AsyncIterator[bytes]:
        async for piece in _pieces(body[: LARGE // 2]):
            yield piece
        raise aiohttp.ClientPayloadError

    with pytest.raises(aiohttp.ClientError):
        await _post(archive, broken())
    cut_off = await _post(archive, _pieces(body[: LARGE // 2]))
    assert (cut_off.status, cut_off.message) == (400, "Request must be valid BSON")
    async with asyncio.timeout(20):
        while _left(archive):  # noqa: ASYNC110 - the disk has no event
            await asyncio.sleep(0.01)
    assert (await archive.list("/messages/count"))["count"] == 0
    assert [key for key in await archive.site.stored_keys() if PUBLIC in key] == []


@pytest.mark.parametrize("objects", ["folder:", pytest.param("s3", marks=pytest.mark.s3)])
async def test_memory_stays_flat_while_a_large_upload_is_stored(
    tmp_path: Path, unique: str, objects: str, request: pytest.FixtureRequest
) -> None:
    size = 256 * limits.MIB
    if objects == "s3":
        objects = s3_url(request.getfixturevalue("s3_server"), unique)
    async with archive_site(tmp_path, sections={"objects": objects}) as archive:
        await _post(archive, _body(b"first"))  # starts the parser process
        block = bytes_of(limits.MIB)
        rest = b"\x05message\0" + struct.pack("<i", size) + b"\0"
        head = struct.pack("<i", 4 + len(rest) + size + 1) + rest

        async def body() -> AsyncIterator[bytes]:
            yield head
            for _ in range(size // len(block)):
                yield block
            yield b"\0"

        before = highest = memory_bytes()
        posting = asyncio.create_task(_post(archive, body()))
        while not posting.done():
            await asyncio.wait([posting], timeout=0.02)
            highest = max(highest, memory_bytes())
        answer = await posting
        assert answer.status == 201, answer
        row = await lookup.by_uuid(archive.site.parts.database, UUID(answer.document["archive_uuid"]))
        assert row is not None
        assert row.size > size
        assert highest - before < size / 2
