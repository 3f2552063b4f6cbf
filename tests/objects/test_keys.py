"""Keys of objects (dispatcher contract, sections 16 and 18)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.objects.keys import check, check_prefix, parked_key, stream_key

SHA256 = "0123456789abcdef" * 4


def test_the_key_of_content_is_source_label_hash() -> None:
    assert stream_key("testing", "content", SHA256) == f"testing/content/{SHA256}"
    assert (
        parked_key("index-azul.test01.system.status-3-17") == "parked/index-azul.test01.system.status-3-17"
    )


@pytest.mark.parametrize(
    "sha256",
    ["", "a", SHA256[:-1], SHA256 + "0", SHA256.upper(), "g" * 64, "\N{DEVANAGARI DIGIT ZERO}" * 64],
)
def test_what_is_no_sha256_is_named(sha256: str) -> None:
    with pytest.raises(BadInput, match="sha256"):
        stream_key("source", "content", sha256)


@pytest.mark.parametrize("part", ["", ".", "..", "a/b", "/", "a\0", "a\n", "\udcff", "x" * 256, "ä" * 128])
def test_the_offending_part_is_named(part: str) -> None:
    with pytest.raises(BadInput, match="source"):
        stream_key(part, "content", SHA256)
    with pytest.raises(BadInput, match="label"):
        stream_key("source", part, SHA256)
    with pytest.raises(BadInput, match="id"):
        parked_key(part)


def test_a_refusal_shows_nothing_that_could_harm_a_screen_or_a_log() -> None:
    with pytest.raises(BadInput) as refused:
        check("a/\x1b[31m\n" + "x" * 1000)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 200


@given(st.text(max_size=300))
def test_what_is_allowed_never_leads_out_of_a_folder(text: str) -> None:
    try:
        key = check(text)
    except BadInput:
        return
    assert key == text
    assert len(key.encode()) <= 1024
    for segment in key.split("/"):
        assert segment not in {"", ".", ".."}
        assert 0 < len(segment.encode()) <= 255
        assert "\0" not in segment


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "s/content/ab"])
def test_a_prefix_may_end_anywhere(prefix: str) -> None:
    assert check_prefix(prefix) == prefix
