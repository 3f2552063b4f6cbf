"""Search over HTTP."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from pipeline import limits
from tests.web.site import Site, sha256


async def _fill(site: Site) -> None:
    for number in range(7):
        await site.submit(b"file %d" % number * (number + 1), filename=f"name{number}.txt")
    await site.submit(b"another source", source="scan")
    await site.index_events()


async def test_every_submitted_file_is_found_by_its_hash(site: Site) -> None:
    await _fill(site)
    for number in range(7):
        digest = sha256(b"file %d" % number * (number + 1))
        page = await site.json(f"/api/search?q={digest}")
        assert [hit["body"]["sha256"] for hit in page["hits"]] == [digest]


async def test_pages_give_every_document_once(site: Site) -> None:
    await _fill(site)
    seen: list[str] = []
    after = ""
    while True:
        page = await site.json(f"/api/search?limit=3&sort=-size&after={quote(after)}")
        assert page["total"] == 8
        seen += [hit["body"]["sha256"] for hit in page["hits"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert len(seen) == len(set(seen)) == 8


async def test_results_come_in_the_order_asked_for(site: Site) -> None:
    await _fill(site)
    sizes = [
        [hit["body"]["size"] for hit in (await site.json(f"/api/search?sort={sort}"))["hits"]]
        for sort in ("size", "-size", "-size,sha256")
    ]
    assert sizes[0] == sorted(sizes[0])
    assert sizes[1] == sizes[2] == sorted(sizes[0], reverse=True)


async def test_values_are_counted(site: Site) -> None:
    await _fill(site)
    answer = await site.json("/api/search/groups?field=source.name&q=action:sourced")
    assert answer == {
        "field": "source.name",
        "groups": [{"value": "testing", "count": 7}, {"value": "scan", "count": 1}],
    }


async def test_documents_that_say_nothing_are_never_hits(site: Site) -> None:
    """Each file has a parent document that only joins its others."""
    await _fill(site)
    page = await site.json("/api/search?limit=100")
    assert all(hit["body"].get("sha256") for hit in page["hits"])
    assert page["total"] == len(page["hits"]) == 8


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("q=nosuchfield:1", "nosuchfield"),
        ("q=%22open", "quotes"),
        ("q=" + "x" * (limits.QUERY_MAX_CHARS + 1), "q"),
        ("q=" + "+".join(["size:1"] * (limits.QUERY_PARTS_MAX + 1)), str(limits.QUERY_PARTS_MAX)),
        ("sort=nosuchfield", "nosuchfield"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("after=nonsense", ""),
        ("family=secrets", "family"),
        ("wrong=1", "wrong"),
        ("limit=1&limit=2", "limit"),
    ],
)
async def test_a_search_that_makes_no_sense_is_refused_with_its_reason(
    site: Site, query: str, word: str
) -> None:
    problem = await site.json(f"/api/search?{query}", status=400)
    assert word in f"{problem['tried']} {problem['why']} {problem['todo']}"


async def test_groups_need_a_field(site: Site) -> None:
    assert "field" in (await site.json("/api/search/groups", status=400))["why"]
    assert "info" in (await site.json("/api/search/groups?field=info", status=400))["tried"]
