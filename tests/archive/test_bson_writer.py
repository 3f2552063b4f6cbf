"""Documents written quickly are those written slowly, to the byte; their rows are those found in them."""

from __future__ import annotations

import zlib

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.archive import bson_writer
from pipeline.archive.message import Message
from pipeline.archive.rows import Location, found_row
from pipeline.archive.storing import draft
from pipeline.archive.storing.dedupe import Fresh
from pipeline.archive.storing.draft import encode, make_draft, row_of
from pipeline.archive.text.text import Text
from tests.archive.archived import a_message, with_id

_words = st.text(max_size=70)
_names = st.sampled_from(["_id", "_format", "_sender", "title", "file_name", "_test", "ä"]) | _words
_headers = st.lists(
    st.tuples(_names, st.none() | st.binary(max_size=20) | _words.map(str.encode)), max_size=18
).map(tuple)
_messages = st.builds(
    Message,
    topic=st.sampled_from(["t", "alerts.demo"]),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=50),
    headers=st.none() | _headers,
    timestamp_type=st.sampled_from([None, "create", "append"]),
    direct_upload=st.booleans(),
)


@given(
    message=_messages,
    cluster=st.sampled_from(["", "east"]),
    public=st.booleans(),
    text=st.sampled_from([None, Text("", True), Text("", False)]),
    ingest_time_ms=st.integers(0, 2**47),
)
@example(a_message(0), "", True, None, 2**31 - 1)
@example(with_id(2**31), "", True, None, 2**31)
def test_a_document_written_quickly_is_the_one_written_slowly(
    message: Message, cluster: str, public: bool, text: Text | None, ingest_time_ms: int
) -> None:
    one = make_draft(message, cluster=cluster, public=public, ingest_time_ms=ingest_time_ms)
    one.media_type, one.text = "text/plain", text
    choice = Fresh(one.uuid, one.is_client_uuid)
    told, quick = encode(one, choice, 10**6)
    data = draft.encode_slowly(one, choice).joined()
    assert quick.joined() == data
    where = Location("k", "b", len(data), zlib.crc32(data), 7)
    assert row_of(one, choice, told, where) == found_row(data, "k", "b", 7)


def test_an_ordinary_message_is_written_quickly() -> None:
    one = make_draft(with_id(3), cluster="", public=True, ingest_time_ms=1)
    told = bson_writer.Told("text/plain", "", "sender", "", "")
    assert bson_writer.write(one, told, one.uuid, True) is not None
