"""One archived message over HTTP: verbatim, exact at every size, never a part taken for the whole."""

from __future__ import annotations

import asyncio
import datetime as dt
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import aiohttp
import bson
import msgspec
import pytest
from yarl import URL

from pipeline import limits, limits_archive
from pipeline.archive.lookup import ArchivedRow
from pipeline.clock import ManualClock
from tests.stores import bytes_of
from tests.web.archive_site import PRIVATE, PUBLIC, ArchiveSite, a_message, archive_site, memory_bytes

CHUNK = limits.CHUNK_BYTES
HEAD = 18
"""Bytes before the payload in an object as it is written today."""


async def test_a_message_is_sent_as_it_is_stored(any_archive: ArchiveSite) -> None:
    (row,) = await any_archive.store(a_message(headers=(("_id", uuid4().bytes), ("nothing", None))))
    answer = await any_archive.ask(f"/msg/{row.uuid}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/bson"
    assert answer.headers["Content-Length"] == str(row.size)
    assert answer.body == await any_archive.object(row)
    assert answer.document["message"] == b"message 0"


async def test_a_message_in_a_pack_is_sent_alone(any_archive: ArchiveSite) -> None:
    rows = await any_archive.store(*(a_message(n) for n in range(5)), packed=True)
    for number, row in enumerate(rows):
        answer = await any_archive.ask(f"/msg/{row.uuid}")
        assert answer.document["message"] == f"message {number}".encode()
        payload = await any_archive.ask(f"/msg/{row.uuid}/raw_file/x")
        assert payload.body == f"message {number}".encode()


async def test_a_message_is_json_for_those_who_prefer_it(archive: ArchiveSite) -> None:
    (row,) = await archive.store(a_message(value=b"\xff\x00"))
    answer = await archive.ask(f"/msg/{row.uuid}", headers={"Accept": "application/json"})
    assert answer.headers["Content-Type"].startswith("application/json")
    document = msgspec.json.decode(answer.body)
    assert document["message"] == {"$binary": {"base64": "/wA=", "subType": "00"}}
    assert document["metadata"]["timestamp"] == row.timestamp
    assert document["metadata"]["topic"] == PUBLIC


async def test_a_message_too_large_for_json_is_not_answered_in_half(
    archive: ArchiveSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_archive, "ARCHIVE_JSON_MAX_BYTES", 100)
    (row,) = await archive.store(a_message())
    answer = await archive.ask(f"/msg/{row.uuid}", headers={"Accept": "application/json"})
    assert (answer.status, answer.message) == (
        406,
        "Message is too large for JSON; ask for application/bson",
    )


@pytest.mark.parametrize(
    "wrong",
    ["1", "x" * 36, "01234567-89ab-4cde-8f01-23456789abcd0", "{01234567-89ab-4cde-8f01-23456789abcd}"],
)
@pytest.mark.parametrize("path", ["/msg/{}", "/msg/{}/raw_file/x"])
async def test_what_is_no_id_is_a_400(archive: ArchiveSite, path: str, wrong: str) -> None:
    answer = await archive.ask(path.format(wrong))
    assert (answer.status, answer.message) == (400, "Invalid Message ID")


@pytest.mark.parametrize("path", ["/msg/{}", "/msg/{}/raw_file/x"])
async def test_an_unknown_id_is_a_404(archive: ArchiveSite, path: str) -> None:
    answer = await archive.ask(path.format(uuid4()))
    assert (answer.status, answer.message) == (404, "Message not found")


async def test_an_unknown_path_and_a_wrong_method_are_answered_in_the_same_shape(
    archive: ArchiveSite,
) -> None:
    unknown = await archive.ask("/nothing")
    assert (unknown.status, unknown.message) == (404, "Not Found")
    wrong = await archive.ask("/topics", "POST")
    assert (wrong.status, wrong.message) == (405, "Method Not Allowed")
    assert "GET" in wrong.headers["Allow"]


# --- payloads ---

SIZES = [0, 1, 65_518, 65_530, 65_536]
SIZES += [border + step for border in (CHUNK, 3 * CHUNK) for step in (-HEAD - 1, -HEAD, -1, 0, 1, HEAD)]


@pytest.mark.parametrize("packed", [False, True])
async def test_a_payload_is_exact_at_every_size(archive: ArchiveSite, packed: bool) -> None:
    payloads = [bytes_of(size) for size in SIZES]
    messages = [a_message(n, value=payload) for n, payload in enumerate(payloads)]
    rows = await archive.store(*messages, packed=packed)
    for row, payload in zip(rows, payloads, strict=True):
        answer = await archive.ask(f"/msg/{row.uuid}/raw_file/some.bin")
        assert answer.headers["Content-Length"] == str(len(payload))
        assert answer.body == payload


async def test_payloads_are_exact_on_the_real_servers_too(any_archive: ArchiveSite) -> None:
    payload = bytes_of(3 * CHUNK + 1)
    (row,) = await any_archive.store(a_message(value=payload))
    assert (await any_archive.ask(f"/msg/{row.uuid}/raw_file/some.bin")).body == payload


async def test_a_message_of_the_older_layout_is_served_as_it_is(archive: ArchiveSite) -> None:
    row = await archive.put_first_generation(b"old payload")
    document = (await archive.ask(f"/msg/{row.uuid}")).document
    assert document["message"] == {"format": "blob", "content": b"old payload"}
    assert (await archive.ask(f"/msg/{row.uuid}/raw_file/x")).body == b"old payload"


async def test_a_payload_that_is_not_the_first_element_is_found(archive: ArchiveSite) -> None:
    (row,) = await archive.store(a_message(value=b"payload"))
    document = bson.decode(await archive.object(row))
    turned = bson.encode(dict(reversed(document.items())))
    await archive.site.parts.archived.put(row.key, turned)
    await archive.change(row, crc32=zlib.crc32(turned))
    assert (await archive.ask(f"/msg/{row.uuid}/raw_file/x")).body == b"payload"


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("two words.txt", 'attachment; filename="two words.txt"'),
        ('a"b\\c.txt', "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%5Cc.txt"),
        (
            "ä\r\nX-Evil: 1",
            "attachment; filename=\"___X-Evil_ 1\"; filename*=UTF-8''%C3%A4%0D%0AX-Evil%3A%201",
        ),
    ],
)
async def test_a_payload_leaves_as_an_attachment_no_browser_shows(
    archive: ArchiveSite, name: str, disposition: str
) -> None:
    (row,) = await archive.store(a_message(value=b"<html><script>alert(1)</script>"))
    url = URL(f"{archive.url}/msg/{row.uuid}/raw_file/{quote(name, safe='')}", encoded=True)
    async with archive.site.client.get(url) as response:
        assert response.headers["Content-Disposition"] == disposition
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert "X-Evil" not in response.headers


# --- what is not as it was written ---


async def _damage(archive: ArchiveSite, row: ArchivedRow, **how: Any) -> None:
    data = bytearray(await archive.object(row))
    data[how.get("at", -1)] ^= 1
    await archive.site.parts.archived.put(row.key, bytes(data) + how.get("more", b""))


@pytest.mark.parametrize("path", ["/msg/{}", "/msg/{}/raw_file/x"])
async def test_a_lost_object_is_not_called_an_unknown_message(
    archive: ArchiveSite, path: str, logged: list[Any]
) -> None:
    (row,) = await archive.store(a_message())
    await archive.site.parts.archived.delete(row.key)
    answer = await archive.ask(path.format(row.uuid))
    assert answer.status == 500
    assert "not in the store" in answer.message
    logged.clear()


@pytest.mark.parametrize("more", [b"", b"too long"])
async def test_a_damaged_object_is_never_sent(archive: ArchiveSite, more: bytes, logged: list[Any]) -> None:
    (row,) = await archive.store(a_message())
    await _damage(archive, row, at=20, more=more)
    assert (await archive.ask(f"/msg/{row.uuid}")).status == 500
    assert (await archive.ask(f"/msg/{row.uuid}/raw_file/x")).status == 500
    logged.clear()


@pytest.mark.parametrize("path", ["/msg/{}", "/msg/{}/raw_file/x"])
async def test_a_large_damaged_object_breaks_off_and_never_ends_well(
    archive: ArchiveSite, path: str
) -> None:
    (row,) = await archive.store(a_message(value=bytes_of(5 * CHUNK)))
    await _damage(archive, row, at=100)
    with pytest.raises(aiohttp.ClientError):
        await archive.ask(path.format(row.uuid))


async def test_a_large_message_is_sent_without_being_held(archive: ArchiveSite) -> None:
    """The reader takes nothing at first; what the server then holds is no more than a few chunks."""
    size = 64 * limits.MIB
    (row,) = await archive.store(a_message(value=bytes_of(size)))
    before = memory_bytes()
    async with archive.site.client.get(f"{archive.url}/msg/{row.uuid}") as response:
        received = 0
        highest = before
        async for piece in response.content.iter_any():
            received += len(piece)
            highest = max(highest, memory_bytes())
    assert received == row.size
    assert highest - before < size / 4


# --- retraction, health ---


async def test_a_message_is_retracted_by_its_sender_and_by_owners(any_archive: ArchiveSite) -> None:
    (row,) = await any_archive.store(a_message(headers=(("_sender", b"nobody"),)))
    path = f"/msg/{row.uuid}/retraction"
    assert (await any_archive.ask(path, "PUT", params={"retracted": "true"})).status == 401
    refused = await any_archive.ask_as("writer", path, "PUT", params={"retracted": "true"})
    assert (refused.status, refused.message) == (403, "Operation not permitted")
    for name, retracted in (("nobody", True), ("owner", False), ("owner", True)):
        answer = await any_archive.ask_as(name, path, "PUT", params={"retracted": str(retracted).lower()})
        assert (answer.status, msgspec.json.decode(answer.body)) == (200, {"retracted": retracted})
        assert (await any_archive.row(row.uuid)).retracted is retracted
    assert (await any_archive.ask(f"/msg/{row.uuid}")).status == 200


@pytest.mark.parametrize(
    ("path", "status"), [("/msg/x/retraction", 400), (f"/msg/{uuid4()}/retraction", 404)]
)
async def test_only_a_message_can_be_retracted(archive: ArchiveSite, path: str, status: int) -> None:
    assert (await archive.ask(path, "PUT")).status == status


async def test_a_read_only_archive_retracts_nothing(tmp_path: Path) -> None:
    async with archive_site(tmp_path, read_only=True) as archive:
        (row,) = await archive.store(a_message())
        answer = await archive.ask(f"/msg/{row.uuid}/retraction", "PUT")
        assert (answer.status, answer.message) == (501, "This archive is read-only")
        assert not (await archive.row(row.uuid)).retracted


async def test_a_private_message_needs_a_right(archive: ArchiveSite) -> None:
    (row,) = await archive.store(a_message(topic=PRIVATE), public=False)
    for path in (f"/msg/{row.uuid}", f"/msg/{row.uuid}/raw_file/x"):
        anonymous = await archive.ask(path)
        assert (anonymous.status, anonymous.message) == (401, "Authentication required")
        assert anonymous.headers["WWW-Authenticate"] == 'SCRAM-SHA-512 realm="headrace"'
        refused = await archive.ask_as("writer", path)
        assert (refused.status, refused.message) == (403, "Operation not permitted")
        assert (await archive.ask_as("reader", path)).status == 200
        assert (await archive.ask_as("owner", path)).status == 200


async def test_health_is_always_answered(tmp_path: Path) -> None:
    clock = ManualClock(dt.datetime(2024, 1, 2, tzinfo=dt.UTC))
    async with archive_site(tmp_path, clock) as archive:
        well = {"DatabaseOK": True, "ObjectStoreOK": True, "HopAuthOK": True}
        for lost, told in ((False, well), (True, {**well, "HopAuthOK": False})):
            if lost:
                await asyncio.to_thread(archive.policy_file.unlink)
                clock.advance(limits_archive.POLICY_PAUSE_SECONDS)
            answer = await archive.ask("/health_check")
            assert (answer.status, msgspec.json.decode(answer.body)) == (200, told)
