"""The text of payloads, found by a parser process, whatever the payloads are."""

from __future__ import annotations

import asyncio
import io
import json
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest

from pipeline import limits, limits_archive
from pipeline.errors import ParserFailure
from pipeline.identify.pool import ParserPool
from pipeline.identify.texts import Extract

CHARACTERS = 1000
SYNC = b"s" * 16

VOEVENT = b"""<?xml version="1.0" encoding="UTF-8"?>
<voe:VOEvent xmlns:voe="http://www.ivoa.net/xml/VOEvent/v2.0" ivorn="ivo://example/demo#17"
    role="observation" version="2.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:schemaLocation="http://www.ivoa.net/xml/VOEvent/v2.0 VOEvent-v2.0.xsd">
  <Who><Author><contactName>Ada Watcher</contactName></Author></Who>
  <What>
    <Description>A <b>bright</b> flash &amp; its afterglow</Description>
    <Param name="magnitude" value="17.25" unit="mag"/>
  </What>
</voe:VOEvent>
"""
VOEVENT_TEXT = (
    "ivorn ivo://example/demo#17 role observation version 2.0 contactName Ada Watcher"
    " Description A b bright Description flash & its afterglow name magnitude value 17.25 unit mag"
)


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[ParserPool]:
    (tmp_path / "rules").mkdir()
    async with ParserPool(processes=1, rules_folder=tmp_path / "rules", timeout_seconds=20) as pool:
        yield pool


async def text_of(pool: ParserPool, media_type: str, payload: bytes) -> Extract:
    """Ask for the text of one payload."""
    (found,) = await pool.texts([(media_type, payload)], CHARACTERS)
    return found


def avro(records: list[Any], schema: Any, codec: str = "null") -> bytes:
    """Write an Avro file."""
    out = io.BytesIO()
    fastavro.writer(out, schema, records, codec=codec)
    return out.getvalue()


ALERT = {
    "type": "record",
    "name": "alert",
    "fields": [
        {"name": "object", "type": "string"},
        {"name": "flux", "type": "double"},
        {"name": "stamp", "type": "bytes"},
        {"name": "near", "type": {"type": "array", "items": "string"}},
        {"name": "notes", "type": {"type": "map", "values": ["null", "string", "long"]}},
    ],
}
RECORD = {
    "object": "ZTF blue",
    "flux": 2.5,
    "stamp": b"image",
    "near": ["M31", "M32"],
    "notes": {"by": "Ada", "none": None, "n": 7},
}
RECORD_TEXT = "object ZTF blue flux 2.5 M31 M32 by Ada n 7"


READABLE = [
    (
        "application/json",
        b'{"a": "x", "n": 1, "f": 1.5, "t": true, "no": null}',
        "a x n 1 f 1.5 t True",
    ),
    ("application/json", b'[{"deep": [["word"], {"k": {"l": "v"}}]}, 4]', "word l v"),
    ("application/json", b'"only \\u00e9"', "only é"),
    ("application/json", b'{"ra": NaN, "dec": Infinity}', "ra nan dec inf"),
    ("application/json", b'{"half": "\\ud800 x"}', "half ? x"),
    ("application/json", b"\xef\xbb\xbf[]", ""),
    ("application/avro", avro([RECORD], ALERT), RECORD_TEXT),
    ("application/avro", avro([RECORD, RECORD], ALERT, "deflate"), f"{RECORD_TEXT} {RECORD_TEXT}"),
    ("text/plain", "Größe\n17".encode(), "Größe\n17"),
    ("application/x.gcn.notice", b"TITLE: GCN NOTICE\nRA: 10.5d\n", "TITLE: GCN NOTICE\nRA: 10.5d\n"),
    (
        "application/x.gcn.circular",
        b'{"header": {"title": "T"}, "body": "seen it"}',
        "title T body seen it",
    ),
    ("application/x.gcn.circular", b"Subject: GRB\n\nWe saw it.", "Subject: GRB\n\nWe saw it."),
    (
        "application/x.voevent",
        VOEVENT,
        VOEVENT_TEXT,
    ),
    ("application/x.voevent", b'{"ivorn": "ivo://x", "Who": {"a": "b"}}', "ivorn ivo://x a b"),
]
"""Payloads with their types and texts."""


async def test_everything_worth_searching_for_is_found(pool: ParserPool) -> None:
    found = await pool.texts([(media_type, payload) for media_type, payload, _ in READABLE], CHARACTERS)
    assert found == [(text, True) for *_, text in READABLE]


async def test_long_strings_without_a_space_are_not_searched_for(pool: ParserPool) -> None:
    encoded, prose, short = "A" * 128, "A" * 128 + " word", "A" * 127
    payload = json.dumps({"image": encoded, "prose": prose, "short": short, "many": [encoded]})
    assert await text_of(pool, "application/json", payload.encode()) == (
        f"prose {prose} short {short}",
        True,
    )
    assert await text_of(pool, "text/plain", encoded.encode()) == ("", True)
    xml = f'<a b="{encoded}"><c>{encoded}</c></a>'.encode()
    assert await text_of(pool, "application/x.voevent", xml) == ("", True)


async def test_no_more_text_is_given_than_was_asked_for(pool: ParserPool) -> None:
    exactly, more = json.dumps(["x" * 99, "y " * 450]), json.dumps(["x" * 99, "y " * 450, "z"])
    whole, cut = await pool.texts(
        [("application/json", exactly.encode()), ("application/json", more.encode())], CHARACTERS
    )
    assert (len(whole.text), whole.complete) == (CHARACTERS, True)
    assert (len(cut.text), cut.complete) == (CHARACTERS, False)


BOMB = b"""<!DOCTYPE a [<!ENTITY x0 "laugh"><!ENTITY x1 "&x0;&x0;">]><a><b>before</b>&x1;</a>"""


UNREADABLE = [
    ("image/png", b"words", ""),
    ("application/octet-stream", b"words", ""),
    ("text/plain", b"\xff\xfe words", ""),
    ("application/json", b'{"a": "x"', ""),
    ("application/json", b"", ""),
    ("application/json", b"[" * 100_000 + b"]" * 100_000, ""),
    ("application/json", b"9" * 100_000, ""),
    ("application/avro", b"Obj\x01", ""),
    ("application/avro", b"no avro", ""),
    ("application/avro", avro([RECORD], ALERT)[:-20], ""),
    ("application/x.voevent", b"<a><b>before</b><c></a>", "b before"),
    ("application/x.voevent", BOMB, ""),
    ("application/x.voevent", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', ""),
    ("application/x.voevent", b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://x/">%x;]><a>w</a>', ""),
]
"""Payloads that end within themselves, or are none of their type, with the text that stands before that."""


async def test_what_cannot_be_read_has_the_text_before_that_and_is_not_complete(pool: ParserPool) -> None:
    found = await pool.texts([(media_type, payload) for media_type, payload, _ in UNREADABLE], CHARACTERS)
    assert found == [(text, False) for *_, text in UNREADABLE]
    assert await text_of(pool, "application/json", b'"next"') == ("next", True)
    assert pool.statistics().deaths == 0


async def test_depth_is_no_danger(pool: ParserPool) -> None:
    deep = b"<a>" * 50_000 + b"word" + b"</a>" * 50_000
    assert await text_of(pool, "application/x.voevent", deep) == ("a word", True)


async def test_records_that_need_no_bytes_are_not_read_for_ever(pool: ParserPool) -> None:
    empty: dict[str, Any] = {"type": "record", "name": "empty", "fields": []}
    assert await text_of(pool, "application/avro", many(empty, 2**40)) == ("", False)


def many(schema: Any, count: int) -> bytes:
    """Write an Avro file whose one block claims so many records and has no bytes for them."""
    return with_block(schema, count, b"")


def with_block(schema: Any, count: int, block: bytes, codec: str = "null") -> bytes:
    """Write an Avro file with one block as it is given."""
    out = io.BytesIO()
    fastavro.writer(out, schema, [], codec=codec, sync_marker=SYNC)
    fastavro.schemaless_writer(out, "long", count)
    fastavro.schemaless_writer(out, "bytes", block)
    return out.getvalue() + SYNC


def swelling() -> bytes:
    """Write an Avro file of 0.5 MiB with a block of 512 MiB."""
    packing = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packing.compress(bytes(limits.MIB)) for _ in range(512)) + packing.flush()
    return with_block("bytes", 1, packed, "deflate")


def nested() -> bytes:
    """Write an Avro file with one record that holds one that holds one, and so on."""
    schema = {"type": "record", "name": "n", "fields": [{"name": "inner", "type": ["null", "n"]}]}
    return with_block(schema, 1, b"\x02" * 2_000_000 + b"\x00")


@pytest.mark.parametrize("bomb", [swelling, nested])
async def test_a_file_that_breaks_its_process_harms_no_other_payload(
    bomb: Callable[[], bytes], tmp_path: Path
) -> None:
    (tmp_path / "rules").mkdir()
    pool = ParserPool(processes=1, rules_folder=tmp_path / "rules", memory_bytes=256 * limits.MIB)
    async with pool:
        other = asyncio.create_task(text_of(pool, "application/json", b'"other"'))
        with pytest.raises(ParserFailure):
            await pool.texts([("application/avro", bomb())], CHARACTERS)
        assert await other == ("other", True)
        assert await text_of(pool, "application/json", b'"next"') == ("next", True)


async def test_payloads_of_any_number_and_size_get_their_own_text(pool: ParserPool) -> None:
    payloads = [json.dumps([f"n{n}", "x y " * (n * 700)]).encode() for n in range(100)]
    payloads.append(b'"' + b"x " * (limits_archive.TEXT_PAYLOAD_MAX_BYTES // 2 - 1) + b'"')
    payloads.append(b'"' + b"x " * (limits_archive.TEXT_PAYLOAD_MAX_BYTES // 2) + b'"')
    found = await pool.texts([("application/json", payload) for payload in payloads], 50)
    assert [each.text.split()[0] for each in found[:100]] == [f"n{n}" for n in range(100)]
    assert [each.complete for each in found[:2]] == [True, False]
    assert [len(each.text) for each in found[-2:]] == [50, 0]
