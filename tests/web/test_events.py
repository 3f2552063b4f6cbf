"""Events over HTTP: by their place on the log, and by their id out of the archive."""

from __future__ import annotations

import base64

import pytest

from pipeline.archive.message import Message
from pipeline.log.port import NewRecord
from tests.web.site import SOURCED, Site


async def test_an_event_is_found_at_its_place(site: Site) -> None:
    place = (await site.submit(b"one"))["event"]
    found = await site.json(f"/api/events/{place['topic']}/{place['partition']}/{place['offset']}")
    assert found["key"] == place["id"]
    assert found["event"]["kafka_key"] == place["id"]
    assert found["base64"] is None


@pytest.mark.parametrize("value", [b"\xff\x00 no json", b"", b"{" * 5000, b"[" * 200_000])
async def test_a_record_that_is_no_json_is_shown_as_it_is(site: Site, value: bytes) -> None:
    headers = (("a", b"text"), ("a", b"\xff"), ("b", None))
    [placed] = await site.parts.log.append([NewRecord(SOURCED, b"\xfe", value, headers)])
    found = await site.json(f"/api/events/{SOURCED}/0/{placed.offset}")
    assert base64.b64decode(found["base64"]) == value
    assert found["event"] is None
    assert base64.b64decode(found["key"]) == b"\xfe"
    assert [(one["name"], one["text"], one["base64"]) for one in found["headers"]] == [
        ("a", "text", None),
        ("a", None, "/w=="),
        ("b", None, None),
    ]


async def test_a_tombstone_has_no_value(site: Site) -> None:
    [placed] = await site.parts.log.append([NewRecord(SOURCED, b"gone", None)])
    found = await site.json(f"/api/events/{SOURCED}/0/{placed.offset}")
    assert (found["event"], found["base64"]) == (None, None)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{SOURCED}/0/1", 404),
        (f"{SOURCED}/1/0", 404),
        (f"{SOURCED}/0/999999999999999999", 404),
        ("no.such.topic/0/0", 404),
        (f"{SOURCED}/0/-1", 400),
        (f"{SOURCED}/zero/0", 400),
        (f"{SOURCED}/0/9999999999999999999999", 400),
        (f"{SOURCED}/0/٣", 400),
        ("..%2f..%2fetc/0/0", 400),
        ("a%00b/0/0", 400),
    ],
)
async def test_a_place_that_holds_nothing_is_not_found(site: Site, path: str, status: int) -> None:
    await site.submit(b"one")
    await site.json(f"/api/events/{path}", status=status)


async def test_an_archived_event_is_found_by_its_id(site: Site) -> None:
    place = (await site.submit(b"kept"))["event"]
    await site.archive_events()
    found = await site.json(f"/api/events/{place['id']}")
    assert found["event"]["kafka_key"] == place["id"]
    [row] = found["rows"]
    assert (row["topic"], row["partition"], row["offset"]) == (place["topic"], 0, place["offset"])
    assert await site.parts.objects.stat(row["key"])

    await site.parts.objects.delete(row["key"])
    gone = await site.json(f"/api/events/{place['id']}")
    assert gone["event"] is None
    assert row["key"] in gone["why"]


async def test_a_private_message_is_not_found_by_its_key(site: Site) -> None:
    key = "0123456789abcdef0123456789abcdef"
    message = Message("alerts.private", 0, 0, 1_700_000_000_000, key.encode(), b"{}")
    await site.archive([message], public=False)
    await site.json(f"/api/events/{key}", status=404)
    found = await site.json(f"/api/where/{key}", status=404)
    assert "alerts.private" not in str(found)


@pytest.mark.parametrize(
    ("name", "status"), [("0" * 32, 404), ("0" * 31, 400), ("..", 404), ("%27%20OR%201=1", 400)]
)
async def test_an_id_nobody_has_is_not_found(site: Site, name: str, status: int) -> None:
    async with site.client.get(f"{site.url}/api/events/{name}") as response:
        assert response.status in {status, 404}
