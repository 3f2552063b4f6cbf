"""Streams as clients of the dispatcher store, read, copy and delete them (contract: section 16)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.web.site import Site, opened, sha256

STREAMS = "/api/v3/stream"
TEXT = b"some text that says nothing\n" * 4
NOT_FOUND = {
    "status": "404",
    "title": "not found",
    "detail": "not found",
    "error_enum": "ErrorStringEnumUnset",
}


async def upload(
    site: Site, data: Any, *, place: str = "testing/content", status: int = 200, **query: str
) -> Any:
    path = f"{STREAMS}/{place}"
    answer = await site.json(path, method="POST", status=status, data=data, params=query)
    if status != 200:
        assert set(answer) <= {"status", "title", "detail", "error_enum"}, "clients forbid further fields"
    return answer


async def test_an_upload_is_stored_and_answered_with_everything_that_is_known_about_it(site: Site) -> None:
    data = (await upload(site, TEXT, place="testing/text"))["data"]
    assert await site.stored_keys() == [f"testing/text/{sha256(TEXT)}"]
    for name in ("md5", "sha1", "sha256", "sha512"):
        assert data.pop(name) == hashlib.new(name, TEXT).hexdigest()
    assert data.pop("tlsh", "T1").startswith("T1")
    assert data == {
        "identify_version": 2,
        "label": "content",
        "size": len(TEXT),
        "mime": "text/plain",
        "magic": "ASCII text",
        "file_format": "text/plain",
        "file_extension": "txt",
    }


async def test_a_chunked_upload_is_the_same(site: Site) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for byte in TEXT:
            yield bytes([byte])

    assert (await upload(site, pieces()))["data"] == (await upload(site, TEXT))["data"]


async def test_an_upload_whose_hash_is_known_need_not_be_looked_at(site: Site) -> None:
    known = sha256(TEXT)
    query: dict[str, Any] = {"skip-identify": "true", "expected-sha256": known.upper()}
    data = (await upload(site, TEXT, **query))["data"]
    empty = dict.fromkeys(("sha512", "sha1", "md5", "mime", "magic"), "")
    assert data == {"label": "content", "size": len(TEXT), "sha256": known, **empty}


@pytest.mark.parametrize(
    ("data", "query", "title"),
    [
        (b"", {}, "no content in request body"),
        (TEXT, {"expected-sha256": "0" * 64}, "sha256 mismatch"),
        (TEXT, {"skip-identify": "1"}, "must supply sha256 when skipping identify"),
        (TEXT, {"skip-identify": "yes"}, "bad param skip identify"),
    ],
)
async def test_a_wrong_upload_is_refused_and_leaves_nothing(
    site: Site, data: bytes, query: dict[str, Any], title: str
) -> None:
    answer = await upload(site, data, status=400, **query)
    assert (answer["status"], answer["title"]) == ("400", title)
    assert await site.stored_keys() == []


async def test_what_is_stored_exists_and_what_is_not_does_not(site: Site) -> None:
    await upload(site, TEXT)
    for source, status in (("testing", 200), ("scan", 404)):
        url = f"{site.url}{STREAMS}/{source}/content/{sha256(TEXT)}"
        async with site.client.head(url) as response:
            assert response.status == status
            assert await response.read() == b""


async def test_a_download_is_the_bytes_and_a_missing_one_says_so(site: Site) -> None:
    await upload(site, TEXT)
    path = f"{STREAMS}/testing/content/{sha256(TEXT)}"
    async with site.client.get(site.url + path) as response:
        assert (response.status, await response.read()) == (200, TEXT)
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.content_type == "application/octet-stream"
        assert response.content_length == len(TEXT)
    async with site.client.get(f"{site.url}{STREAMS}/testing/text/{sha256(TEXT)}") as response:
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert (response.status, await response.json()) == (404, NOT_FOUND)


SIZE = len(TEXT)


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=5-9", 5, 9),
        ("bytes=5-", 5, SIZE - 1),
        ("bytes=-5", SIZE - 5, SIZE - 1),
        ("bytes=-0", 0, SIZE - 1),
        (f"bytes=-{SIZE + 1}", 0, SIZE - 1),
        ("bytes=0-1048575", 0, SIZE - 1),
    ],
)
async def test_a_range_is_answered_with_its_bytes(site: Site, header: str, first: int, last: int) -> None:
    await upload(site, TEXT)
    url = f"{site.url}{STREAMS}/testing/content/{sha256(TEXT)}"
    async with site.client.get(url, headers={"Range": header}) as response:
        assert (response.status, await response.read()) == (206, TEXT[first : last + 1])
        assert response.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("lines=0-1", 400),
        ("bytes=0-1,3-4", 400),
        ("bytes=5", 400),
        ("bytes=-", 400),
        ("bytes=a-b", 400),
        ("bytes=9-5", 400),
        (f"bytes={SIZE}-", 416),
    ],
)
async def test_a_wrong_range_is_refused(site: Site, header: str, status: int) -> None:
    await upload(site, TEXT)
    url = f"{site.url}{STREAMS}/testing/content/{sha256(TEXT)}"
    async with site.client.get(url, headers={"Range": header}) as response:
        assert response.status == status
        body = await response.json()
        assert body["status"] == str(status)
        if status == 400:
            assert body["title"] == "invalid range provided"
        else:
            assert response.headers["Content-Range"] == f"bytes */{SIZE}"


async def test_what_clients_do_is_counted_under_the_names_they_know(tmp_path: Path) -> None:
    async with opened(tmp_path, hub={"allow_delete": True}) as site:

        async def counted() -> dict[str, float]:
            async with site.client.get(f"{site.url}/metrics") as response:
                lines = (await response.text()).splitlines()
            pairs = (line.split() for line in lines if line.startswith("dispatcher_data_"))
            return {name: float(value) for name, value in pairs if name.endswith("_total")}

        before = await counted()
        await upload(site, TEXT)
        url = f"{site.url}{STREAMS}/testing/content/{sha256(TEXT)}"
        for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-9"}), ("DELETE", {})):
            async with site.client.request(method, url, headers=headers) as response:
                await response.read()
        after = await counted()
    grown = {name.removeprefix("dispatcher_data_"): after[name] - before[name] for name in after}
    assert grown == {
        "exist_requests_total": 1,
        "upload_requests_total": 1,
        "uploaded_bytes_total": SIZE,
        "download_requests_total": 1,
        "downloaded_bytes_total": 10,
        "delete_requests_total": 1,
        "cache_lookups_total": 0,
        "cache_hits_total": 0,
    }


async def test_deletion_has_to_be_allowed(site: Site) -> None:
    await upload(site, TEXT)
    url = f"{site.url}{STREAMS}/testing/content/{sha256(TEXT)}"
    async with site.client.delete(url) as response:
        assert (response.status, (await response.text()).strip()) == (404, "404 page not found")
    assert len(await site.stored_keys()) == 1


async def test_only_what_is_old_enough_is_deleted(tmp_path: Path) -> None:
    async with opened(tmp_path, hub={"allow_delete": True}) as site:
        await upload(site, TEXT)
        path = f"{STREAMS}/testing/content/{sha256(TEXT)}"

        async def delete(status: int = 200, **query: str) -> Any:
            return await site.json(path, method="DELETE", status=status, params=query)

        assert await delete(ifOlderThan="1000000000") == {"deleted": False}
        assert len(await site.stored_keys()) == 1
        assert (await delete(400, ifOlderThan="yesterday"))["title"] == "ifOlderThan error"
        assert await delete(ifOlderThan=f"{int(time.time()) + 60}") == {"deleted": True}
        for query in ({}, {"ifOlderThan": "1000000000"}):
            assert await delete(404, **query) == NOT_FOUND
        await upload(site, TEXT)
        assert await delete(ifOlderThan="9" * 12) == {"deleted": True}
        await upload(site, TEXT)
        assert await delete() == {"deleted": True}
        assert await site.stored_keys() == []


async def test_a_stream_is_copied_to_another_source_under_its_label(site: Site) -> None:
    await upload(site, TEXT, place="testing/text")
    path = f"{site.url}{STREAMS}/testing/scan/text/"
    async with site.client.patch(path + sha256(TEXT)) as response:
        assert (response.status, await response.read()) == (200, b"")
    assert await site.stored_keys() == [f"{source}/text/{sha256(TEXT)}" for source in ("scan", "testing")]
    async with site.client.patch(path + sha256(b"other")) as response:
        assert response.status == 404


@pytest.mark.parametrize(
    "place",
    [
        f"%2e%2e/content/{sha256(TEXT)}",
        f"testing/%2e/{sha256(TEXT)}",
        f"testing/a%2fb/{sha256(TEXT)}",
        f"testing/%00/{sha256(TEXT)}",
        "testing/content/a",
        f"testing/content/{sha256(TEXT).upper()}",
    ],
)
async def test_parts_of_a_path_that_no_store_may_see_are_refused(site: Site, place: str) -> None:
    url = URL(f"{site.url}{STREAMS}/{place}", encoded=True)
    for method in ("GET", "HEAD", "DELETE"):
        async with site.client.request(method, url) as response:
            assert response.status in {400, 404}


async def test_a_place_no_store_can_hold_is_refused_before_a_byte_is_read(site: Site) -> None:
    answer = await upload(site, TEXT, place="testing/" + "x" * 300, status=400)
    assert answer["status"] == "400"
    assert await site.stored_keys() == []


async def test_an_upload_that_breaks_off_leaves_nothing(site: Site) -> None:
    async def torn() -> AsyncIterator[bytes]:
        yield TEXT
        raise ConnectionError

    with pytest.raises((ConnectionError, aiohttp.ClientError)):
        await upload(site, torn())
    assert await site.stored_keys() == []
