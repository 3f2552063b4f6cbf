"""Typed searches: what they mean, and what is said when they mean nothing."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import limits
from pipeline.errors import QueryError
from pipeline.index.checks import check
from pipeline.index.parse import parse
from pipeline.index.query import And, Condition, Exists, Prefix, Range, Term, Text
from pipeline.index.schema import schema_of


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("", And(())),
        ("   ", And(())),
        ("file_format:text/plain", Term("file_format", ("text/plain",))),
        ('source.name:"my source"', Term("source.name", ("my source",))),
        (r'magic:"say \"hi\" \\ twice"', Term("magic", ('say "hi" \\ twice',))),
        ('magic:""', Term("magic", ("",))),
        ('magic:"star*"', Term("magic", ("star*",))),
        ("magic:PE*", Prefix("magic", "PE")),
        ("magic:*", Prefix("magic", "")),
        ("magic:", Exists("magic")),
        ("size:>=1000", Range("size", at_least="1000")),
        ("size:>1000", Range("size", above="1000")),
        ("size:<=1000", Range("size", at_most="1000")),
        ("size:<1000", Range("size", below="1000")),
        ('timestamp:>="2024-03-14T09:00:00Z"', Range("timestamp", at_least="2024-03-14T09:00:00Z")),
        ("features_map.seen:x", Term("features_map.seen", ("x",))),
        ("free words", Text("free words")),
        ('one "two three" four', Text("one two three four")),
        ("setup size:1 exe", And((Term("size", ("1",)), Text("setup exe")))),
        ("C" * 32, Term("md5", ("c" * 32,))),
        ("C" * 40, Term("sha1", ("c" * 40,))),
        ("C" * 64, Term("sha256", ("c" * 64,))),
        ("C" * 128, Term("sha512", ("c" * 128,))),
        (f'"{"c" * 32}"', Text("c" * 32)),
        ("c" * 33, Text("c" * 33)),
        ("g" * 32, Text("g" * 32)),
        (f"parent.sha256:{'C' * 64}", Term("parent.sha256", ("c" * 64,))),
    ],
)
def test_what_is_typed_is_what_is_meant(typed: str, meant: Condition) -> None:
    assert parse(typed) == meant
    check(meant, schema_of("binary2"))


def test_a_hash_in_a_family_without_hash_fields_is_a_word() -> None:
    assert parse("c" * 64, "status") == Text("c" * 64)
    assert parse("entity.status:completed", "status") == Term("entity.status", ("completed",))


@pytest.mark.parametrize(
    ("typed", "character", "why"),
    [
        ("nosuchfield:1", 1, "no such field"),
        ("  size:1 nosuchfield:1", 10, "no such field"),
        ("http://example.com", 1, "in quotes"),
        ("author:me", 1, "did you mean author."),
        ("file_fromat:x", 1, "file_format"),
        ('size:1 "open', 8, "do not close"),
        ('magic:"open', 7, "do not close"),
        ('magic:"a"b', 7, "do not close"),
        (r'magic:"bad \n escape"', 7, "do not close"),
        ('wo"rd', 3, "around a whole value"),
        ("size:>", 7, "nothing follows >"),
        ("size:>= 1", 8, "nothing follows >="),
        ("tlsh_vector:1", 1, "cannot be searched"),
    ],
)
def test_what_cannot_be_understood_is_pointed_at(typed: str, character: int, why: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(typed)
    assert f"at character {character}:" in str(caught.value)
    assert why in str(caught.value)


def test_a_search_that_is_too_long_is_refused() -> None:
    with pytest.raises(QueryError, match="longer"):
        parse("a " * limits.QUERY_MAX_CHARACTERS)


@given(st.text(max_size=60) | st.text('abc: "\\><=*', max_size=30))
def test_nothing_typed_breaks_it(typed: str) -> None:
    with contextlib.suppress(QueryError):
        check(parse(typed), schema_of("binary2"))
