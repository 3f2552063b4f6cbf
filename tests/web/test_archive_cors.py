"""Web pages of other origins and the archive: the named ones get in, to these routes only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import bson
import pytest

from pipeline.errors import SettingError
from tests.web.archive_site import PUBLIC, TOKEN, ArchiveSite, a_message, archive_site

NAMED, MATCHING, FOREIGN = (
    "https://alerts.example.org",
    "https://a1.example.net",
    "https://evil.example.com",
)
BODY = bson.encode({"message": b"hello"})


@pytest.fixture
async def opened_up(tmp_path: Path) -> AsyncIterator[ArchiveSite]:
    """Give an archive that lets in pages of some origins."""
    async with archive_site(
        tmp_path, cors_origins=[NAMED], cors_origin_regex=r"https://a\d\.example\.net"
    ) as made:
        yield made


@pytest.mark.parametrize("origin", [NAMED, MATCHING])
async def test_a_page_of_a_named_origin_reads_and_writes(opened_up: ArchiveSite, origin: str) -> None:
    (row,) = await opened_up.store(a_message())
    headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    for path in (f"/msg/{row.uuid}", f"/msg/{row.uuid}/raw_file/x", "/messages", "/msg/x", "/nothing"):
        answer = await opened_up.ask(path, headers=headers)
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.headers["Vary"] == "Origin"
    headers |= {"Authorization": f"Bearer {TOKEN}"}
    answer = await opened_up.ask(f"/topic/{PUBLIC}", "POST", data=BODY, headers=headers)
    assert answer.status == 201


@pytest.mark.parametrize("origin", [NAMED, MATCHING])
async def test_a_browser_is_told_before_what_it_may_do(opened_up: ArchiveSite, origin: str) -> None:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    answer = await opened_up.ask(f"/topic/{PUBLIC}", "OPTIONS", headers=headers)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization, content-type"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize(
    "origin",
    [
        FOREIGN,
        "null",
        "https://a1.example.net.evil.com",
        "http://alerts.example.org",
        "https://a12.example.net",
    ],
)
async def test_a_page_of_another_origin_stays_outside(opened_up: ArchiveSite, origin: str) -> None:
    (row,) = await opened_up.store(a_message())
    headers = {"Origin": origin, "Authorization": f"Bearer {TOKEN}"}
    answer = await opened_up.ask(f"/topic/{PUBLIC}", "POST", data=BODY, headers=headers)
    assert answer.status == 403
    assert "may not do this" in answer.message
    read = await opened_up.ask(f"/msg/{row.uuid}", headers=headers)
    assert "Access-Control-Allow-Origin" not in read.headers
    headers["Access-Control-Request-Method"] = "POST"
    preflight = await opened_up.ask(f"/topic/{PUBLIC}", "OPTIONS", headers=headers)
    assert preflight.status == 405
    assert "Access-Control-Allow-Origin" not in preflight.headers


async def test_a_named_origin_gets_in_nowhere_else(opened_up: ArchiveSite) -> None:
    site = opened_up.site
    async with site.client.post(f"{site.url}/api/pause", headers={"Origin": NAMED}) as response:
        assert response.status == 403
        assert "Access-Control-Allow-Origin" not in response.headers
    async with site.client.get(f"{site.url}/api/status", headers={"Origin": NAMED}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers
    headers = {"Origin": NAMED, "Access-Control-Request-Method": "POST"}
    async with site.client.options(f"{site.url}/api/pause", headers=headers) as response:
        assert response.status == 405


async def test_without_the_setting_no_page_of_another_origin_gets_in(archive: ArchiveSite) -> None:
    for origin in (NAMED, "null", ""):
        headers = {"Origin": origin, "Authorization": f"Bearer {TOKEN}"}
        answer = await archive.ask(f"/topic/{PUBLIC}", "POST", data=BODY, headers=headers)
        assert answer.status == 403


async def test_a_pattern_that_is_none_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cors_origin_regex"):
        async with archive_site(tmp_path, cors_origin_regex="["):
            pass
