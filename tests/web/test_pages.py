"""Pages: readable without script, and nothing a stranger wrote is ever markup."""

from __future__ import annotations

import html

import msgspec
import pytest

from pipeline.log.port import NewRecord
from tests.web.html import Page, assert_harmless, assert_labelled, load
from tests.web.site import PAGE, SOURCED, Site, sha256, task

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1); '",
    "{{ 7 * 7 }}{% raw %}",
    "</title></head><body onload=alert(1)>",
    "photo\u202egpj.exe",
    "\x1b[31mred\x00",
    "javascript:alert(1)",
]


async def test_hostile_names_are_text_wherever_they_are_shown(site: Site) -> None:
    await site.make_tables()
    for number, name in enumerate(HOSTILE):
        await site.submit(b"%d" % number, filename=name)
    await site.index_events()
    hostile = [task(n, plugin=name) for n, name in enumerate(HOSTILE)]
    await site.put_tasks([msgspec.structs.replace(one, version=one.plugin) for one in hostile])
    await site.parts.log.append([NewRecord(SOURCED, b"k", b"poison")])
    await site.park((await site.records(SOURCED))[-1], " ".join(HOSTILE))
    start = await load(site, "/")
    assert_harmless(start)
    shown = " ".join(start.words)
    for name in HOSTILE:
        seen = name.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b").replace("\x00", "\\x00")
        assert shown.count(seen) >= 2, name
    for number in range(len(HOSTILE)):
        page = await load(site, f"/objects/{sha256(b'%d' % number)}")
        assert_harmless(page)


@pytest.mark.parametrize("query", HOSTILE[:6])
async def test_a_hostile_search_is_shown_as_text(site: Site, query: str) -> None:
    async with site.client.get(site.url + "/", params={"q": query}, headers=PAGE) as response:
        text = await response.text()
        assert response.status == 200
    page = Page(text)
    assert_harmless(page)
    [box] = [attributes for tag, attributes in page.tags if attributes.get("id") == "q"]
    assert html.unescape(box["value"] or "").replace("\\u202e", "\u202e") == query


async def test_a_wrong_search_is_explained_on_the_page(site: Site) -> None:
    page = await load(site, "/?q=nosuchfield:1")
    assert any("there is no such field" in word for word in page.words)


async def test_a_search_shows_what_it_finds_and_nothing_else(site: Site) -> None:
    await site.submit(b"first", filename="first.txt")
    await site.submit(b"second", filename="second.txt")
    await site.index_events()
    words = " ".join((await load(site, "/?q=filename:first.txt")).words)
    assert "first.txt" in words
    assert "second.txt" not in words


async def test_the_start_page_works_without_script(site: Site) -> None:
    page = await load(site, "/")
    [form] = [attributes for tag, attributes in page.tags if attributes.get("id") == "submit"]
    assert (form["action"], form["method"], form["enctype"]) == (
        "/api/objects",
        "post",
        "multipart/form-data",
    )
    names = {attributes.get("name") for tag, attributes in page.tags if tag in {"input", "select"}}
    assert {"source", "file", "q"} <= names
    assert ("meta", {"http-equiv": "refresh", "content": "10"}) in page.tags


async def test_every_field_has_its_label(site: Site) -> None:
    assert_labelled(await load(site, "/"))


async def test_the_page_of_a_submission_names_it(site: Site) -> None:
    answer = await site.submit(b"just now")
    page = await load(site, f"/?stored={answer['sha256']}")
    assert any(answer["sha256"] in word for word in page.words)
    async with site.client.get(site.url + "/?stored=<b>", headers=PAGE) as response:
        assert response.status == 400


async def test_every_local_link_leads_somewhere(site: Site) -> None:
    await site.make_tables()
    await site.put_tasks([task(1, plugin="a/b c%d<e>")])
    answer = await site.submit(b"linked")
    await site.index_events()
    await site.park((await site.records(SOURCED))[0], "why")
    seen = set()
    for path in ("/", f"/objects/{answer['sha256']}"):
        for _, attributes in (await load(site, path)).tags:
            for name in ("href", "src"):
                link = attributes.get(name) or ""
                if link.startswith("/"):
                    seen.add(link)
    for link in seen:
        async with site.client.get(site.url + link) as response:
            assert response.status == 200, link
    assert len(seen) > 10


async def test_a_file_nobody_knows_has_no_page(site: Site) -> None:
    await site.json(f"/objects/{'0' * 64}", status=404)
    await site.json("/objects/nothash", status=400)


@pytest.mark.parametrize("name", ["nope.css", "..%2fpages.py", "%2e%2e%2f%2e%2e%2fsettings.py"])
async def test_no_other_file_is_sent(site: Site, name: str) -> None:
    await site.json(f"/static/{name}", status=404)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (PAGE["Accept"], "text/html"),
        ("text/html", "text/html"),
        ("text/html, */*;q=0.1", "text/html"),
        ("TEXT/HTML ; charset=utf-8 ; q=0.5, text/*;q=0.4", "text/html"),
        ("text/plain;q=0.2, text/html;q=0.3", "text/html"),
        ("text/plain;q=0, */*", "text/html"),
        (None, "text/plain"),
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/*", "text/plain"),
        ("text/plain", "text/plain"),
        ("text/html, text/plain", "text/plain"),
        ("text/html;q=0.4, text/plain;q=0.5", "text/plain"),
        ("text/html;q=0, */*;q=0.1", "text/plain"),
        ("text/html;q=many, */*;q=0.1", "text/plain"),
        ("text/html;q=7", "text/plain"),
        ("application/json", "text/plain"),
        (",;,q=", "text/plain"),
    ],
)
async def test_a_program_is_greeted_as_it_expects_and_a_browser_sees_the_page(
    site: Site, accept: str | None, media: str
) -> None:
    """Contract: dispatcher section 20. aiohttp's client asks for anything unless told not to."""
    headers = {} if accept is None else {"Accept": accept}
    skipped = ["Accept"] if accept is None else []
    async with site.client.get(site.url, headers=headers, skip_auto_headers=skipped) as response:
        text = await response.text()
        assert (response.status, response.content_type, response.charset) == (200, media, "utf-8")
        assert response.headers["Vary"] == "Accept"
    assert (text == "Azul Dispatcher") == (media == "text/plain")
