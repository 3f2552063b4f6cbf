"""Downloads: neutered by default, ranges by the contract, never a part taken for the whole."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

import aiohttp
import pytest

from pipeline import limits
from pipeline.objects.neuter import unpack
from tests.web.site import Site, sha256

DATA = bytes(range(256)) * 40
TOTAL = len(DATA)


async def _path(site: Site, data: bytes = DATA) -> str:
    answer = await site.submit(data)
    return f"{site.url}/api/objects/{answer['sha256']}/content"


async def test_an_object_leaves_neutered_unless_asked_raw(site: Site) -> None:
    path = await _path(site)
    async with site.client.get(path) as response:
        packed = await response.read()
        assert response.status == 200
        assert response.headers["Content-Disposition"] == f'attachment; filename="{sha256(DATA)}.cart"'
    assert packed.startswith(b"CART")
    assert DATA[:64] not in packed
    assert b"".join([chunk async for chunk in await unpack(packed)]) == DATA


async def test_raw_bytes_leave_as_an_attachment_of_no_type(site: Site) -> None:
    html = b"<html><script>alert(1)</script></html>"
    async with site.client.get(await _path(site, html) + "?format=raw") as response:
        assert await response.read() == html
        headers = response.headers
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in headers["Content-Security-Policy"]
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Length"] == str(len(html))


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-9", 0, 9),
        ("bytes=100-", 100, TOTAL - 1),
        ("bytes=-10", TOTAL - 10, TOTAL - 1),
        (f"bytes={TOTAL - 1}-{TOTAL - 1}", TOTAL - 1, TOTAL - 1),
        (f"bytes=5-{TOTAL * 10}", 5, TOTAL - 1),
        (f"bytes=-{TOTAL * 10}", 0, TOTAL - 1),
        ("bytes=-0", 0, TOTAL - 1),
        ("bytes=0-9999999999999999999", 0, TOTAL - 1),
    ],
)
async def test_a_range_gives_exactly_its_bytes(site: Site, asked: str, first: int, last: int) -> None:
    path = await _path(site) + "?format=raw"
    async with site.client.get(path, headers={"Range": asked}) as response:
        assert response.status == 206
        assert response.headers["Content-Range"] == f"bytes {first}-{last}/{TOTAL}"
        assert await response.read() == DATA[first : last + 1]
    async with site.client.head(path, headers={"Range": asked}) as response:
        assert response.status == 206
        assert response.headers["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize("asked", [f"bytes={TOTAL}-", f"bytes={TOTAL + 5}-{TOTAL + 9}"])
async def test_a_range_behind_the_end_is_refused_with_the_size(site: Site, asked: str) -> None:
    path = await _path(site) + "?format=raw"
    async with site.client.get(path, headers={"Range": asked}) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == f"bytes */{TOTAL}"
        assert (await response.json())["error"] == "range refused"


@pytest.mark.parametrize(
    "asked",
    [
        "items=0-1",
        "bytes=0-1,4-5",
        "bytes=5",
        "bytes=-",
        "bytes=a-b",
        "bytes=9-1",
        "bytes=1--1",
        "",
        "bytes=٣-٤",
    ],
)
async def test_a_range_that_is_none_is_refused(site: Site, asked: str) -> None:
    path = await _path(site) + "?format=raw"
    async with site.client.get(path, headers={"Range": asked}) as response:
        assert response.status == 400


async def test_a_range_of_another_version_is_ignored(site: Site) -> None:
    path = await _path(site) + "?format=raw"
    headers = {"Range": "bytes=0-9", "If-Range": '"something else"'}
    async with site.client.get(path, headers=headers) as response:
        assert response.status == 200
        assert await response.read() == DATA


async def test_what_a_client_has_is_not_sent_again(site: Site) -> None:
    path = await _path(site) + "?format=raw"
    async with site.client.get(path) as response:
        tag = response.headers["ETag"]
    async with site.client.get(path, headers={"If-None-Match": f'"x", W/{tag}'}) as response:
        assert response.status == 304
    async with site.client.get(path.replace("raw", "cart"), headers={"If-None-Match": tag}) as response:
        assert response.status == 200


async def test_existence_is_told_without_a_body(site: Site) -> None:
    path = await _path(site)
    async with site.client.head(path + "?format=raw") as response:
        assert response.status == 200
        assert response.headers["Content-Length"] == str(TOTAL)
        assert await response.read() == b""
    missing = path.replace(sha256(DATA), "0" * 64)
    for gone in (missing, missing.removesuffix("/content")):
        async with site.client.head(gone) as response:
            assert response.status == 404


async def test_an_upper_case_hash_names_the_same_object(site: Site) -> None:
    path = await _path(site) + "?format=raw"
    async with site.client.get(path.replace(sha256(DATA), sha256(DATA).upper())) as response:
        assert await response.read() == DATA


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "%2Fetc%2Fpasswd",
        "a" * 63,
        "g" * 64,
        "a" * 65,
        "%00" * 64,
        "٣" * 64,
        "x%0d%0ay",
    ],
)
@pytest.mark.parametrize("tail", ["", "/content", "/content?format=raw"])
async def test_no_path_leaves_the_store(site: Site, name: str, tail: str) -> None:
    request = f"GET /api/objects/{name}{tail} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answered = await site.raw(request.encode())
    assert answered.split()[1] in {b"400", b"404"}
    assert b"root:" not in answered


async def test_an_unknown_format_is_refused_naming_the_known_ones(site: Site) -> None:
    async with site.client.get(await _path(site) + "?format=zip") as response:
        problem = await response.json()
        assert response.status == 400
    assert "format" in problem["why"]


async def test_a_stored_object_that_breaks_off_breaks_the_connection(site: Site, logged: list[Any]) -> None:
    """A file that shrinks while it is read must never look like a shorter object."""
    data = random.Random(1).randbytes(24 * limits.MIB)  # noqa: S311 - bytes that do not compress
    await site.parts.objects.put(f"testing/content/{sha256(data)}", data)
    [file] = [path for path in (site.folder / "objects").rglob(sha256(data)) if path.is_file()]
    for form in ("raw", "cart"):
        await site.parts.objects.put(f"testing/content/{sha256(data)}", data)
        path = f"{site.url}/api/objects/{sha256(data)}/content?format={form}"
        async with site.client.get(path) as response:
            assert response.status == 200
            await response.content.readany()
            with file.open("r+b") as cut:
                cut.truncate(1)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
    said = [entry["reason"] for entry in logged if entry["event"] == "broke off a download"]
    assert len(said) == 2
    assert all("shorter" in reason for reason in said)


async def test_a_reader_that_stops_reading_is_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    monkeypatch.setattr(limits, "WEB_BODY_IDLE_SECONDS", 0.2)
    data = bytes(64 * limits.MIB)
    await site.parts.objects.put(f"testing/content/{sha256(data)}", data)
    host, _, port = site.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port), limit=1)
    writer.write(
        f"GET /api/objects/{sha256(data)}/content?format=raw HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    )
    await writer.drain()
    async with asyncio.timeout(20):
        while not any(entry["event"] == "broke off a download" for entry in logged):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    writer.transport.abort()


async def test_a_large_object_goes_through_whole(site: Site) -> None:
    async def chunks() -> Any:
        random_ = random.Random(7)  # noqa: S311 - bytes that do not compress
        for _ in range(160):
            yield random_.randbytes(limits.MIB // 4)

    answer = await site.json("/api/objects", method="POST", status=201, data=chunks())
    found = hashlib.sha256()
    async with site.client.get(f"{site.url}/api/objects/{answer['sha256']}/content?format=raw") as response:
        async for chunk in response.content.iter_chunked(limits.CHUNK_BYTES):
            found.update(chunk)
    assert found.hexdigest() == answer["sha256"]
