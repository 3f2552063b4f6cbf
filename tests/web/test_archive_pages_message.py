"""The page of one archived message: in an object of its own or in a pack, whole, damaged or gone."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from pipeline import limits_archive
from pipeline.archive.lookup import ArchivedRow
from pipeline.web.archive_pages_payload import hexadecimal, shown_payload
from tests.web.archive_site import PRIVATE, PUBLIC, ArchiveSite, a_message
from tests.web.html import Page, assert_harmless, assert_labelled, links, load

JSON = b'{"a": 1}'


async def page_of(archive: ArchiveSite, row: ArchivedRow, query: str = "") -> Page:
    """Load the page of a message."""
    page = await load(archive.site, f"/archive/messages/{row.uuid}{query}")
    assert_harmless(page)
    assert_labelled(page)
    return page


async def content(archive: ArchiveSite, link: str) -> bytes:
    """Load what a link leads to."""
    async with archive.site.client.get(archive.site.url + link) as response:
        assert response.status == 200, link
        return await response.read()


@pytest.mark.parametrize("packed", [False, True], ids=["alone", "in a pack"])
async def test_everything_about_a_message_is_shown(any_archive: ArchiveSite, *, packed: bool) -> None:
    sender, uuid = (("_sender", b"demo"), ("title", b"An alert")), uuid4()
    own, made = await any_archive.store(
        a_message(6, headers=(("_id", uuid.bytes), *sender), value=JSON),
        a_message(9, headers=None),
        packed=packed,
    )
    page = await page_of(any_archive, own)
    for text in (
        f"Id {uuid} given by its sender",
        f"Topic {PUBLIC}",
        "Time 2023-11-14 22:13:20.129Z 1700000000129 ms",
        "Place partition 0, offset 6",
        "Sender demo",
        "Key k",
        "Payload 8 bytes",
        f"CRC-32 {zlib.crc32(JSON):08x}",
        hashlib.sha256(JSON).hexdigest(),
        own.key,
        f"{own.size} bytes, CRC-32 {own.crc32:08x} , layout 2",
        "con_is_client_uuid yes",
        "added_headers none",
    ):
        assert text in page.text
    assert ("In the pack from byte 0" in page.text) == packed
    page = await page_of(any_archive, made)
    assert f"Id {made.uuid} made by the archive" in page.text
    assert f"_id added by the archive {made.uuid.hex} hex" in page.text
    assert (f"from byte {own.size}" in page.text) == packed
    api = [link for link in links(page) if link.startswith("/api/archive")]
    assert [await content(any_archive, link) for link in api] == [
        b"message 9",
        await any_archive.object(made),
    ]


async def test_headers_are_shown_as_they_are(archive: ArchiveSite) -> None:
    headers = (("none", None), ("empty", b""), ("binary", b"\xff\x00"), ("twice", b"1"), ("twice", b"2"))
    (row,) = await archive.store(
        a_message(headers=(*headers, ("long", b"y" * 5000), ("bad", b"\xff" * 5000)))
    )
    text = (await page_of(archive, row)).text
    assert "none null empty empty binary ff00 hex twice 1 twice 2 long yyy" in text
    assert "… 5,000 bytes" in text
    assert "y" * 1024 in text
    assert "y" * 1025 not in text
    assert "hex, the first 1024 of 5,000 bytes" in text
    many = tuple((f"h{n}", b"") for n in range(limits_archive.ARCHIVE_SHOWN_HEADERS + 5))
    (row,) = await archive.store(a_message(1, headers=many))
    assert (
        f"The first {limits_archive.ARCHIVE_SHOWN_HEADERS} are shown." in (await page_of(archive, row)).text
    )


PAYLOADS: dict[str, tuple[bytes | None, str, str]] = {
    "JSON": (b'{"b":1.50,"b":[1e400,{}]}', "JSON", '{ "b": 1.50, "b": [ 1e400, {} ] }'),
    "no JSON after all": (b'{"b":1', "text", '{"b":1'),
    "deep JSON": (b"[" * 40 + b"]" * 40, "text", "[" * 40 + "]" * 40),
    "XML": (
        b"<voe:VOEvent a='1'>\r\n\t<b/></voe:VOEvent>",
        "text",
        "<voe:VOEvent a='1'> <b/></voe:VOEvent>",
    ),
    "steering text": ("a\u202eb\x7f".encode(), "text", "a\\u202eb\\x7f"),
    "binary": (b"\x00abc\xff", "hexadecimal", "00000000 00 61 62 63 ff ·abc·"),
    "escapes": (b"\x1b[31m", "hexadecimal", "00000000 1b 5b 33 31 6d ·[31m"),
    "tombstone": (None, "nothing", "None: a tombstone."),
    "empty": (b"", "nothing", "Empty."),
}


@pytest.mark.parametrize("name", list(PAYLOADS))
async def test_a_payload_is_shown_as_it_fits(archive: ArchiveSite, name: str) -> None:
    value, form, text = PAYLOADS[name]
    (row,) = await archive.store(a_message(value=value))
    page = await page_of(archive, row)
    assert f"Payload {form}" in page.text
    assert text in page.text
    if value:
        hexed = await page_of(archive, row, "?view=hex")
        assert value[:8].hex(" ") in hexed.text
        assert "Payload text" in (await page_of(archive, row, "?view=text")).text or form == "JSON"


async def test_of_a_long_payload_the_start_is_shown(archive: ArchiveSite) -> None:
    size = limits_archive.ARCHIVE_SHOWN_TEXT_BYTES
    (row,) = await archive.store(a_message(value=b"x" * (size - 1) + "é".encode() + b"z" * 100))
    page = await page_of(archive, row)
    assert f"text, the first {size:,} of {size + 101:,} bytes" in page.text
    assert "z" * 100 not in page.text
    assert "xé" not in page.text, "half a character is none"


async def test_a_message_too_large_for_a_page_is_not_read(
    archive: ArchiveSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = await archive.store(a_message())
    monkeypatch.setattr(limits_archive, "ARCHIVE_SHOWN_OBJECT_MAX_BYTES", row.size - 1)
    page = await page_of(archive, row)
    assert "too much for a page" in page.text
    assert [link for link in links(page) if link.startswith("/api/archive")]


async def test_a_lost_object_is_said_to_be_missing(any_archive: ArchiveSite) -> None:
    (row,) = await any_archive.store(a_message())
    await any_archive.site.parts.archived.delete(row.key)
    page = await page_of(any_archive, row)
    assert "Its object is missing" in page.text
    assert f"Topic {PUBLIC}" in page.text
    assert not [link for link in links(page) if link.startswith("/api/archive")]


@pytest.mark.parametrize("change", [{"crc32": 1}, {"size": 7}, {"pack_offset": 10**6}])
async def test_a_damaged_object_is_said_to_be_damaged(archive: ArchiveSite, change: dict[str, Any]) -> None:
    (row,) = await archive.store(a_message())
    page = await page_of(archive, await archive.change(row, **change))
    assert "Its object is damaged" in page.text
    assert "Payload message 0" not in page.text


async def test_a_message_of_the_first_generation_is_shown(archive: ArchiveSite) -> None:
    row = await archive.put_first_generation(b"old")
    page = await page_of(archive, row)
    assert "layout 1" in page.text
    assert "Payload text" in page.text
    assert "Archived not known when" in page.text


async def test_a_message_leads_to_its_neighbours_and_back(archive: ArchiveSite) -> None:
    first, second, third = await archive.store(a_message(1), a_message(2), a_message(7))
    page = await page_of(archive, second)
    assert "Before: offset 1 After: offset 7 4 not archived between" in page.text
    beside = [link for link in links(page) if link.startswith("/archive/messages/")]
    assert beside == [f"/archive/messages/{row.uuid}" for row in (first, third)]
    for link in beside:
        assert f"/archive/messages/{second.uuid}" in links(await load(archive.site, link))


async def test_an_event_of_headrace_leads_to_its_life_line_and_file(archive: ArchiveSite) -> None:
    key, sha256 = "0" * 32, "ab" * 32
    event = msgspec.json.encode({"kafka_key": key, "entity": {"sha256": sha256}})
    own: dict[str, Any] = {"topic": "azul.test01.testing.binary.sourced", "value": event}
    rows = await archive.store(a_message(key=key.encode(), **own), a_message(1, key=b"a/b", **own))
    assert {f"/api/where/{key}", f"/objects/{sha256}"} <= set(links(await page_of(archive, rows[0])))
    other = links(await page_of(archive, rows[1]))
    assert not [link for link in other if link.startswith("/api/where")]
    (row,) = await archive.store(a_message(2, key=key.encode(), value=event))
    assert not {f"/api/where/{key}", f"/objects/{sha256}"} & set(links(await page_of(archive, row)))


@pytest.mark.parametrize("name", ["../../etc", "a/b", "..", "naïve name.txt", "photo\u202egpj.exe", "<b>"])
async def test_a_payload_is_downloaded_whatever_its_file_name_is(archive: ArchiveSite, name: str) -> None:
    (row,) = await archive.store(a_message(headers=(("file_name", name.encode()),)))
    [link, _] = [link for link in links(await page_of(archive, row)) if link.startswith("/api/archive")]
    assert await content(archive, link) == b"message 0"


async def test_what_is_not_public_and_what_is_not_there_look_alike(archive: ArchiveSite) -> None:
    (private,) = await archive.store(a_message(topic=PRIVATE), public=False)
    pages = [
        await load(archive.site, f"/archive/messages/{one}", 404) for one in (private.uuid, UUID(int=1))
    ]
    assert pages[0].text.replace(str(private.uuid), "") == pages[1].text.replace(str(UUID(int=1)), "")
    assert "is no uuid" in (await load(archive.site, "/archive/messages/nothing", 400)).text


async def test_annotations_a_stranger_made_are_shown_as_text(archive: ArchiveSite) -> None:
    (row,) = await archive.store(a_message())
    await archive.change(row, title="<b>x</b>", retracted=True, cluster="west")
    page = await page_of(archive, row)
    assert "<b>x</b> retracted" in page.text
    assert "of cluster west" in page.text


def test_a_page_never_shows_more_than_its_limits() -> None:
    nested = b"[" * 30 + b"[]," * 40_000 + b"1" + b"]" * 30
    assert len(nested) < limits_archive.ARCHIVE_SHOWN_TEXT_BYTES
    assert shown_payload(nested, "").form == "text", "indented it would have ten times as many characters"
    assert shown_payload(b"\xff" * 10**6, "").bytes_shown == limits_archive.ARCHIVE_SHOWN_HEX_BYTES
    assert shown_payload(b"\xff" * 10**6, "text").bytes_shown == limits_archive.ARCHIVE_SHOWN_TEXT_BYTES


def test_hexadecimal_has_every_byte_once() -> None:
    data = bytes(range(256))
    lines = hexadecimal(data).splitlines()
    assert bytes.fromhex("".join(line[8:58] for line in lines)) == data
    assert [int(line[:8], 16) for line in lines] == list(range(0, 256, 16))
    assert lines[4].endswith("@ABCDEFGHIJKLMNO")
