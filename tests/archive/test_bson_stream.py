"""BSON read while it arrives: as if read at once, wherever it is cut; no length is believed unchecked."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive.bson import read_value
from pipeline.archive.bson_list import frame
from pipeline.archive.bson_stream import BINARY, BrokenBson, BsonReader

NAME = st.characters(codec="utf-8", exclude_characters="\0")
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(max_size=20),
        st.binary(max_size=40),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(NAME, max_size=5), inner, max_size=4),
    ),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.text(NAME, max_size=8), VALUES, max_size=6)


async def _chunks(data: bytes, step: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]
        yield b""


async def _read(data: bytes, step: int) -> dict[str, Any]:
    reader = BsonReader(_chunks(data, step))
    found: dict[str, Any] = {}
    await reader.start()
    while element := await reader.element():
        if element.kind == BINARY:
            size, pieces = await reader.binary()
            found[element.name] = b"".join([piece async for piece in pieces])
            assert len(found[element.name]) == size
        else:
            value = await reader.value()
            assert len(value) == element.size_bytes
            found[element.name] = read_value(element.kind, value)
    await reader.finish()
    return found


@given(DOCUMENTS, st.integers(1, 60))
async def test_what_is_read_piece_by_piece_is_what_was_written(document: dict[str, Any], step: int) -> None:
    assert await _read(bson.encode(document), step) == document


@given(DOCUMENTS, st.integers(1, 60))
async def test_what_is_not_asked_for_is_passed_over(document: dict[str, Any], step: int) -> None:
    reader = BsonReader(_chunks(bson.encode(document), step))
    await reader.start()
    names = []
    while element := await reader.element():
        names.append(element.name)
    await reader.finish()
    assert names == list(document)


@given(DOCUMENTS, st.integers(1, 60), st.data())
async def test_a_document_that_is_cut_or_longer_than_it_says_is_refused(
    document: dict[str, Any], step: int, data: st.DataObject
) -> None:
    whole = bson.encode(document)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for broken in (whole[:cut], whole + b"\0"):
        with pytest.raises(BrokenBson):
            await _read(broken, step)


@given(st.binary(max_size=80), st.integers(1, 20))
async def test_any_bytes_are_read_or_refused(data: bytes, step: int) -> None:
    sized = struct.pack("<i", len(data) + 4) + data
    try:
        reader = BsonReader(_chunks(sized, step))
        await reader.start()
        while await reader.element():
            pass
        await reader.finish()
    except BrokenBson:
        pass


@given(st.lists(DOCUMENTS, max_size=5), st.one_of(st.none(), st.text(max_size=5)))
def test_a_list_around_documents_is_one_document_of_the_length_it_says(
    documents: list[dict[str, Any]], mark: str | None
) -> None:
    written = [bson.encode(document) for document in documents]
    outside = frame({"next": mark, "prev": None}, [len(document) for document in written])
    inner = b"".join(before + document for before, document in zip(outside.before, written, strict=True))
    whole = outside.head + inner + outside.tail
    assert len(whole) == outside.size_bytes
    assert bson.decode(whole) == {"next": mark, "prev": None, "messages": documents}
