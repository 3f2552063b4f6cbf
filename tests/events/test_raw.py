"""JSON of others: passes through, compact and safe, with its numbers as they were spelled."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given

from pipeline.errors import EventCorrupt
from pipeline.events import raw
from tests.events.strategies import JSON_VALUES


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ('{ "a" : 1.50 ,\n"b": [1e3, -0, 1E+2, 10000000000000000000000] }',) * 1
        + ('{"a":1.50,"b":[1e3,-0,1E+2,10000000000000000000000]}',),
        ('"<script>&"', '"\\u003cscript\\u003e\\u0026"'),
        ('{"<": "\u2028\u2029"}', '{"\\u003c":"\\u2028\\u2029"}'),
        ('"two  blanks"', '"two  blanks"'),
        ("null", "null"),
    ],
)
def test_spelling_stays_white_space_goes_and_markup_is_escaped(given_text: str, expected: str) -> None:
    assert bytes(raw.compact(msgspec.Raw(given_text.encode()))).decode() == expected


@given(JSON_VALUES)
def test_the_meaning_never_changes(value: Any) -> None:
    for text in (json.dumps(value, indent=3), json.dumps(value, ensure_ascii=False)):
        compacted = raw.compact(msgspec.Raw(text.encode()))
        assert json.loads(bytes(compacted)) == value
        assert raw.compact(compacted) == compacted


@pytest.mark.parametrize("text", [b'"\xff"', b"{", b"[1 2]", b"[" * 100_000 + b"]" * 100_000])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(EventCorrupt):
        raw.compact(msgspec.Raw(text))
