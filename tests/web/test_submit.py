"""Submitting over HTTP: nothing is accepted that is not durable, nothing refused leaves anything behind."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from pipeline import limits
from pipeline.events.codec import decode_stored
from tests.web.fetching import Hub
from tests.web.site import PREFIX, SOURCED, Site, opened, sha256


async def _nothing_is_left(site: Site) -> bool:
    """Tell whether neither store, scratch space nor log holds anything."""
    scratch = [path for path in (site.folder / "objects").rglob("*") if path.is_file()]
    return not await site.stored_keys() and not scratch and not await site.records(SOURCED)


async def test_an_accepted_object_is_stored_and_announced_with_its_hashes(site: Site) -> None:
    data = b"the bytes of a file" * 1000
    answer = await site.submit(data, filename="a.bin", **{"reference.ticket": "4711"})
    for name in ("md5", "sha1", "sha256", "sha512"):
        assert answer[name] == hashlib.new(name, data).hexdigest()
    assert answer["size_bytes"] == len(data)
    assert await site.stored_keys() == [f"testing/content/{answer['sha256']}"]
    [record] = await site.records(SOURCED)
    assert (record.topic, record.partition, record.offset) == tuple(
        answer["event"][name] for name in ("topic", "partition", "offset")
    )
    assert record.key == answer["event"]["id"].encode()
    event = decode_stored("binary", record.value)
    assert event is not None
    assert event.kafka_key == answer["event"]["id"]
    assert event.entity.sha256 == answer["sha256"]
    assert event.source.references == {"ticket": "4711"}
    assert event.source.path[0].filename == "a.bin"
    assert event.track_source_references.startswith("testing.")


async def test_a_body_without_length_is_taken(site: Site) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(300):
            yield b"%06d" % number * 1000

    answer = await site.json("/api/objects", method="POST", status=201, data=chunks())
    whole = b"".join([chunk async for chunk in chunks()])
    assert answer["sha256"] == sha256(whole)
    async with site.client.get(f"{site.url}/api/objects/{answer['sha256']}/content?format=raw") as got:
        assert await got.read() == whole


async def test_the_same_object_time_and_references_are_the_same_event(site: Site) -> None:
    how = {"timestamp": "2026-01-02T03:04:05Z", "reference.a": "1"}
    first = await site.submit(b"same", **how)
    second = await site.submit(b"same", filename="other name", **how)
    third = await site.submit(b"same", timestamp="2026-01-02T03:04:06Z", **{"reference.a": "1"})
    fourth = await site.submit(b"same", timestamp="2026-01-02T03:04:05Z", **{"reference.a": "2"})
    assert first["event"]["id"] == second["event"]["id"]
    assert len({answer["event"]["id"] for answer in (first, third, fourth)}) == 3
    assert len(await site.stored_keys()) == 1


async def test_an_unknown_source_is_refused_naming_the_known_ones_and_nothing_is_stored(site: Site) -> None:
    problem = await site.json("/api/objects?source=nope", method="POST", status=404, data=b"x")
    assert problem["error"] == "not found"
    assert "scan, testing" in problem["why"]
    assert problem["todo"]
    assert await _nothing_is_left(site)


async def test_an_empty_body_is_refused(site: Site) -> None:
    problem = await site.json("/api/objects", method="POST", status=400, data=b"")
    assert problem["error"] == "bad input"
    assert await _nothing_is_left(site)


@pytest.mark.parametrize("announced", [True, False])
async def test_an_object_above_the_limit_is_refused_and_leaves_nothing(
    tmp_path: Path, announced: bool
) -> None:
    limit = 3 * limits.MIB
    async with opened(tmp_path, web={"upload_max_bytes": limit}) as site:
        data = bytes(limit + 1)

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        body = io.BytesIO(data) if announced else chunks()
        problem = await site.json("/api/objects", method="POST", status=413, data=body)
        assert problem["error"] == "too large"
        assert str(limit) in problem["why"]
        assert await _nothing_is_left(site)
        await site.json("/api/objects", method="POST", status=201, data=io.BytesIO(data[:-1]))


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("?nonsense=1", "nonsense"),
        ("?source=testing&source=scan", "source"),
        ("?timestamp=yesterday", "yesterday"),
        ("?filename=" + "x" * (limits.FILENAME_MAX_CHARS + 1), "filename"),
        ("?reference.a=1&reference.a=2", "'a'"),
        ("?reference.=1", "''"),
        ("?reference.a=" + "x" * (limits.REFERENCE_MAX_CHARS + 1), "'a'"),
        ("?" + "&".join(f"reference.k{number}=1" for number in range(limits.REFERENCES_MAX + 1)), "100"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused_by_name(site: Site, query: str, word: str) -> None:
    async with site.client.post(site.url + "/api/objects" + query, data=b"x") as response:
        problem = json.loads(await response.text())
    assert response.status in {400, 422}
    assert word in f"{problem['tried']} {problem['why']} {problem['todo']}"
    assert await _nothing_is_left(site)


async def test_references_must_fit_what_their_source_declares(tmp_path: Path) -> None:
    declared = {"references": [{"name": "ticket", "required": True}, {"name": "host"}]}
    async with opened(tmp_path, events={"sources": {"strict": declared}}) as site:
        path = "/api/objects?source=strict"
        missing = await site.json(path, method="POST", status=400, data=b"x")
        assert "ticket" in missing["why"]
        unknown = await site.json(
            path + "&reference.ticket=1&reference.colour=red", method="POST", status=400, data=b"x"
        )
        assert "colour" in unknown["why"]
        assert not await site.stored_keys()
        await site.submit(b"x", source="strict", **{"reference.ticket": "1"})


async def test_a_compressed_body_is_refused_because_its_bytes_are_not_the_objects(site: Site) -> None:
    headers = {"Content-Encoding": "gzip"}
    problem = await site.json(
        "/api/objects",
        method="POST",
        status=400,
        data=b"\x1f\x8b",
        headers=headers,
        skip_auto_headers=["Accept"],
    )
    assert "gzip" in problem["why"]


@pytest.mark.parametrize("sent_bytes", [1, 3 * limits.MIB])
async def test_a_body_that_ends_too_early_leaves_nothing(site: Site, sent_bytes: int) -> None:
    head = f"POST /api/objects HTTP/1.1\r\nHost: localhost\r\nContent-Length: {4 * limits.MIB}\r\n\r\n"
    host, _, port = site.url.removeprefix("http://").partition(":")
    before = await _dropped(site)
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + bytes(sent_bytes))
    await writer.drain()
    writer.transport.abort()
    async with asyncio.timeout(20):
        while await _dropped(site) == before:  # noqa: ASYNC110 - the state is the server's
            await asyncio.sleep(0.01)
    assert await _nothing_is_left(site)
    await site.submit(b"the next one is unaffected")


async def _dropped(site: Site) -> int:
    """Count the submissions that were refused or broken off; one is counted when it is over."""
    async with site.client.get(site.url + "/metrics") as response:
        text = await response.text()
    pattern = r'request_seconds_count\{method="POST",route="/api/objects",status="400"\} (\d+)'
    return sum(int(count) for count in re.findall(pattern, text))


async def test_a_malformed_chunked_body_is_refused_and_leaves_nothing(site: Site) -> None:
    head = b"POST /api/objects HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    answered = await site.raw(head + b"5\r\nhello\r\nZZ\r\nbroken", end=True)
    assert not answered or b" 400 " in answered.splitlines()[0]
    assert await _nothing_is_left(site)


async def test_a_silent_body_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEB_BODY_IDLE_SECONDS", 0.05)
    monkeypatch.setattr(limits, "WEB_LINGER_SECONDS", 0.05)
    async with opened(tmp_path) as site:
        head = b"POST /api/objects HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
        answered = await site.raw(head + b"half")
        assert b" 408 " in answered.splitlines()[0]
        assert b'"body timeout"' in answered
        assert await _nothing_is_left(site)


@pytest.mark.parametrize(
    "name",
    [
        "naïve Übung.txt",
        "日本語のファイル.bin",
        "a/b\\c.txt",
        "\u202egpj.exe",
        "\x00\x1b[31m",
        "📎",
        "%41",
        "a=b&c",
    ],
)
async def test_every_file_name_comes_back_as_it_was_given(site: Site, name: str) -> None:
    await site.submit(b"content", filename=name)
    [record] = await site.records(SOURCED)
    event = decode_stored("binary", record.value)
    assert event is not None
    assert [feature.value for feature in event.entity.features] == [name]
    assert "/" not in event.source.path[0].filename
    assert "\\" not in event.source.path[0].filename


async def test_a_form_is_taken_as_a_browser_sends_it(site: Site) -> None:
    form = aiohttp.FormData()
    form.add_field("source", "scan")
    form.add_field("file", b"from a form", filename="dropped.txt", content_type="text/plain")
    answer = await site.json("/api/objects", method="POST", status=201, data=form)
    assert answer["sha256"] == sha256(b"from a form")
    assert answer["event"]["topic"] == f"azul.{PREFIX}.scan.binary.sourced"


async def test_a_browser_without_script_is_sent_back_to_the_page(site: Site) -> None:
    form = aiohttp.FormData()
    form.add_field("file", b"from a page", filename="a.txt")
    async with site.client.post(
        site.url + "/api/objects", data=form, headers={"Accept": "text/html"}, allow_redirects=False
    ) as response:
        assert response.status == 303
        assert response.headers["Location"] == f"/?stored={sha256(b'from a page')}"


async def test_plugins_may_choose_what_was_submitted_by_its_format(site: Site) -> None:
    text = await site.submit(b"Some words\n", filename="a.txt")
    await site.submit(b"%PDF-1.4\n%abc\n1 0 obj\n", filename="b.pdf")
    hub = Hub(site.client, site.url)
    answer = await hub.gather(1, name="reads text", r_historic="true", r_streams="content,text/")
    [event] = answer.events
    assert event["entity"]["sha256"] == text["sha256"]
    [content] = event["entity"]["datastreams"]
    assert (content["label"], content["file_format"], content["mime"]) == (
        "content",
        "text/plain",
        "text/plain",
    )
    assert event["source"]["path"][0]["file_format"] == "text/plain"
    rest = await hub.gather(1, name="reads documents", r_historic="true", r_streams="content,document/")
    assert len(rest.events) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b\r\nno header",
        b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
        b'--b\r\nContent-Disposition: form-data; name="source"\r\n\r\n' + b"x" * 100_000 + b"\r\n--b--\r\n",
    ],
)
async def test_a_form_without_a_file_is_refused(site: Site, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    problem = await site.json("/api/objects", method="POST", status=400, data=body, headers=headers)
    assert problem["tried"] in {"read the form", "read the body"}
    assert await _nothing_is_left(site)


@pytest.mark.parametrize("length", [b"", b"Content-Length: 11\r\n", b"Content-Length: 20\r\n"])
async def test_a_form_whose_file_is_cut_off_leaves_nothing(site: Site, length: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
    body = head + length + b"\r\nhalf a file"
    async with site.client.post(site.url + "/api/objects", data=body, headers=headers) as response:
        assert response.status == 400
    assert await _nothing_is_left(site)
