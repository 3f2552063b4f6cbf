"""Where requests may come from, how long and large they may be, and the shape of every refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import limits
from tests.web.site import PAGE, Site, opened


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "localhost:80", "LOCALHOST", "127.9.9.9", "[::1]:8111", "localhost."]
)
async def test_the_names_of_this_machine_are_served(site: Site, host: str) -> None:
    answered = await site.raw(
        f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    )
    assert b" 200 " in answered.splitlines()[0]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8111",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "10.0.0.1",
        "0.0.0.0",  # noqa: S104 - a name, not a socket
        "[::2]",
        "[",
        "",
    ],
)
async def test_no_foreign_name_reaches_us_over_loopback(site: Site, host: str) -> None:
    """A page of evil.example whose name was pointed at 127.0.0.1 must read nothing."""
    answered = await site.raw(
        f"GET /api/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    )
    assert answered.split()[1] in {b"403", b"400"}
    assert b"sources" not in answered


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_foreign_page_changes_nothing(site: Site, headers: dict[str, str]) -> None:
    await site.json("/api/objects", method="POST", status=403, data=b"x", headers=headers)
    assert not await site.stored_keys()


async def test_our_own_page_may_submit(site: Site) -> None:
    headers = {"Origin": site.url, "Sec-Fetch-Site": "same-origin"}
    await site.json("/api/objects", method="POST", status=201, data=b"x", headers=headers)


@pytest.mark.parametrize(
    "path", ["/", "/api/status", "/metrics", "/openapi.json", "/nope", "/static/start.js"]
)
async def test_every_answer_forbids_what_it_does_not_need(site: Site, path: str) -> None:
    async with site.client.get(site.url + path, headers=PAGE) as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert "Python" not in response.headers["Server"]
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("DELETE", "/api/objects", 405),
        ("PUT", "/", 405),
        ("GET", "/static/../pages.py", 404),
        ("GET", "/api", 404),
    ],
)
async def test_what_is_not_there_is_told_in_the_one_shape(
    site: Site, method: str, path: str, status: int
) -> None:
    problem = await site.json(path, method=method, status=status)
    assert set(problem) == {"error", "tried", "why", "todo"}
    assert problem["error"]


async def test_a_method_that_is_not_there_names_those_that_are(site: Site) -> None:
    async with site.client.delete(site.url + "/healthz") as response:
        assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}


async def test_an_unexpected_error_tells_its_id_and_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(site.parts.log, "topics", broken)
    problem = await site.json("/api/topics", status=500)
    assert "secret" not in json.dumps(problem)
    [entry] = [entry for entry in logged if entry["log_level"] == "error"]
    assert entry["id"] == problem["id"]
    assert str(entry["exc_info"]) == "/secret/path"
    logged.clear()


async def test_a_request_that_takes_too_long_is_ended(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEB_REQUEST_SECONDS", 0.0)
    problem = await site.json("/api/where/0123456789abcdef", status=503)
    assert "no answer within" in problem["why"]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * (limits.WEB_LINE_MAX_BYTES + 1) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "
        + b"x" * (limits.WEB_LINE_MAX_BYTES + 1)
        + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 1000 + b"\r\n",
        b"\x00\x01\x02 nonsense\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        (
            b"POST /api/objects HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
    ],
)
async def test_a_head_that_is_too_large_or_broken_is_refused_and_no_news(
    site: Site, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answered = await site.raw(sent)
    assert not caplog.records
    assert b" 400 " in answered.splitlines()[0]
    assert b"Traceback" not in answered
    await site.json("/healthz")


async def test_a_head_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEB_HEADER_IDLE_SECONDS", 0.2)
    async with opened(tmp_path) as site:
        assert await site.raw(b"GET /healthz HTTP/1.1\r\nHost: local") == b""
        assert await site.raw(b"") == b""
