"""Parked records over HTTP: seen whole, put back where they came from."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.events.parked import ParkedEntry, decode_parked
from pipeline.log.port import NewRecord, Record
from tests.web.site import PREFIX, SOURCED, Site

POISON = b"\x00 no event at all"
HEADERS = (("a", b"1"), ("a", b"\xff"), ("b", None))


async def _parked(site: Site, count: int = 1) -> list[ParkedEntry]:
    await site.make_tables()
    for number in range(count):
        await site.parts.log.append([NewRecord(SOURCED, b"k%d" % number, POISON, HEADERS)])
    return [await site.park(record, "it does not decode") for record in await site.records(SOURCED)]


async def test_an_entry_is_shown_with_its_reason_and_its_bytes(site: Site) -> None:
    [entry] = await _parked(site)
    page = await site.json("/api/parked")
    assert [one["id"] for one in page["entries"]] == [entry.id]
    shown = await site.json(f"/api/parked/{entry.id}")
    assert shown["error"] == "it does not decode"
    assert (shown["topic"], shown["offset"], shown["key"]) == (SOURCED, 0, "k0")
    assert [header["name"] for header in shown["headers"]] == ["a", "a", "b"]
    async with site.client.get(f"{site.url}/api/parked/{entry.id}/content") as response:
        assert await response.read() == POISON
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert response.headers["Content-Disposition"].startswith("attachment")


async def test_a_replayed_record_is_the_record_that_was_parked(site: Site) -> None:
    [entry] = await _parked(site)
    placed = await site.json(f"/api/parked/{entry.id}/replay", method="POST", status=202)
    before, after = await site.records(SOURCED)
    assert after.offset == placed["offset"] == 1
    assert _said(after) == _said(before) == (b"k0", POISON, HEADERS)


def _said(record: Record) -> tuple[Any, ...]:
    return record.key, record.value, record.headers


async def test_a_replay_closes_its_entry_by_a_durable_word(site: Site) -> None:
    [entry] = await _parked(site)
    await site.json(f"/api/parked/{entry.id}/replay", method="POST", status=202)
    [record] = await site.records(f"azul.{PREFIX}.system.parked")
    assert record.key == entry.id.encode()
    assert decode_parked(record.value or b"").state == "replayed"


async def test_an_entry_without_its_bytes_is_not_replayed_and_stays(site: Site) -> None:
    [entry] = await _parked(site)
    await site.parts.objects.delete(entry.object_key)
    await site.json(f"/api/parked/{entry.id}/replay", method="POST", status=404)
    assert len(await site.records(SOURCED)) == 1
    assert not await site.records(f"azul.{PREFIX}.system.parked")
    assert (await site.json(f"/api/parked/{entry.id}"))["state"] == "parked"


async def test_entries_are_paged_newest_first(site: Site) -> None:
    entries = await _parked(site, 12)
    seen: list[str] = []
    after = ""
    while True:
        page = await site.json(f"/api/parked?agent=index&limit=5&after={after}")
        assert page["total"] == 12
        seen += [one["id"] for one in page["entries"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == [entry.id for entry in reversed(entries)]
    assert (await site.json("/api/parked?agent=enrich"))["total"] == 0


@pytest.mark.parametrize("name", ["nope", "..", "%2e%2e%2fparked", "0" * 32])
@pytest.mark.parametrize(("tail", "method"), [("", "GET"), ("/content", "GET"), ("/replay", "POST")])
async def test_an_entry_nobody_parked_is_not_found(site: Site, name: str, tail: str, method: str) -> None:
    await _parked(site)
    async with site.client.request(method, f"{site.url}/api/parked/{name}{tail}") as response:
        assert response.status in {404, 405}
