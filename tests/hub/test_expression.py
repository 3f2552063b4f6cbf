"""Filters as paths into the event: the old parameter ``filter`` (dispatcher contract, section 2)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import limits
from pipeline.errors import QueryError
from pipeline.hub.expression import ERROR, NO_MATCH, Expression
from pipeline.hub.expression_parts import wildcards

EVENT: dict[str, Any] = {
    "action": "sourced",
    "author": {"name": "plug", "version": "1.2"},
    "flags": {},
    "entity": {
        "size": 0,
        "mime": "",
        "is": [True, False, None],
        "odd.name": "dotted",
        "features": [
            {"name": "family", "value": "emotet", "tags": ["bank", "loader"], "score": 9},
            {"name": "packer", "value": "upx", "tags": [], "score": 2.5},
            {"name": "note", "value": 'says "hi"', "score": None},
        ],
        "datastreams": [{"label": "content", "size": 100}, {"label": "pcap", "size": 7}],
    },
}
STORED = msgspec.json.encode(EVENT)


def judge(expression: str) -> str | None:
    return Expression(expression).judge(STORED)


@pytest.mark.parametrize(
    "expression",
    [
        "action",
        "author.name",
        "author|name",
        "entity.size",  # zero is something
        "entity.features.1.value",
        "entity.features.#",
        "entity.features.#.tags",
        "entity.feat*.0.nam?",
        r"entity.odd\.name",
        'entity.features.#(name=="family")',
        'entity.features.#(name == "family").value',
        "entity.features.#(name=family)",  # as GJSON has it, quotes may be left out
        'entity.features.#(value=="says \\"hi\\"")',
        "entity.features.#(score>2.5)",
        "entity.features.#(score<=2.5)#.name|0",
        "entity.features.#(score==null)",
        'entity.features.#(value%"*mot?t")',
        'entity.features.#(value!%"u*")#|1',
        'entity.features.#(tags.#(=="loader")).name',
        'entity.features.#(tags.#(=="loader")#)#.name',
        "entity.features.#(tags.#>1)",
        "entity.features.#(tags)",
        'entity.features.#(score!="9")',  # values of another kind differ
        "entity.is.#(==true)",
        "entity.datastreams.#(size>=100)#",
        '..#(action=="sourced")',
        '..#(action=="sourced").author.name',
        '..#(entity.datastreams.#(label=="pcap"))',
        "..0.action",
        "@this.action",
        "author.@keys.#(==version)",
        "author.@values|@reverse|0",
        "entity.features.#.tags|@flatten.1",
    ],
)
def test_an_event_passes_when_the_path_finds_something(expression: str) -> None:
    assert judge(expression) is None


@pytest.mark.parametrize(
    "expression",
    [
        "nothing",
        "author.name.first",
        "action.0",
        "entity.mime",
        "entity.is.1",
        "entity.is.2",
        "flags",
        "entity.features.3",
        "entity.features.x",
        "entity.features.#.nothing",
        "author.#",
        "entity.features.1.tags",
        'entity.features.#(name=="other")',
        'entity.features.#(name=="other")#',
        'entity.features.#(value%"mot")',
        "entity.features.#(score>9)",
        "entity.features.#(score>text)",
        "entity.features.#(score<null)",
        "entity.is.#(>1)",
        'author.#(name=="plug")',
        '..#(action=="mapped")',
        "action.@keys",
        "entity.zzz*",
    ],
)
def test_an_event_in_which_nothing_is_found_never_passes(expression: str) -> None:
    assert judge(expression) == NO_MATCH


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "..",
        "a..b",
        ".a",
        "a.",
        "a||b",
        "a.#(",
        "a.#(b==1",
        "a.#(b==1)c",
        "a.#(b==1))",
        "a.#()",
        "a.#(b==)",
        "a.#(==)",
        "a.#(b==~true)",
        "a.#(b=={})",
        'a.#(b=="c)',
        "[a,b]",
        "{a,b}",
        "!true",
        "a.@pretty",
        "a.@tostr",
        'a.@flatten:{"deep":true}',
        "a" * (limits.FILTER_EXPRESSION_MAX_CHARS + 1),
        "a.#(" * 20 + "b" + ")" * 20,
        "\ud800.#(a==\ud800).",
    ],
)
def test_what_is_no_path_is_refused_before_any_event_is_read(expression: str) -> None:
    with pytest.raises(QueryError):
        Expression(expression)


@pytest.mark.parametrize("value", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": ' + b"[" * 5000])
def test_an_event_that_cannot_be_read_is_removed(value: bytes) -> None:
    assert Expression("a").judge(value) == ERROR


@pytest.mark.parametrize(
    ("expression", "event"),
    [
        ("a.#.#.#(=1)#", [[[0] * 100] * 100] * 100),
        ('a.#(%"' + "*a" * 100 + '")', ["a" * 100_000]),
        ('a.#(%"*' + "?" * 500 + 'b")', ["a" * 100_000]),
        ("a." + "@reverse." * 90 + "0", list(range(1000))),
        ("a." + "#(".join([""] * 8) + "=1" + ")#" * 7, [[[[[[[0] * 9] * 9] * 9] * 9] * 9] * 9] * 9),
        ("*" + "?" * 400 + "b", "keys"),
    ],
)
def test_no_expression_takes_long_whatever_the_event(expression: str, event: Any) -> None:
    written = {"a": event} if event != "keys" else {"a" * 1000 + str(n): 1 for n in range(1000)}
    assert Expression(expression).judge(msgspec.json.encode(written)) == ERROR


def by_trying(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(by_trying(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in {"?", text[0]} and by_trying(pattern[1:], text[1:])


@example("*a*b*", "aba")
@given(st.text("ab*?", max_size=7), st.text("ab\n", max_size=9))
def test_wildcards_match_what_trying_every_way_matches(pattern: str, text: str) -> None:
    assert (wildcards(pattern).match(text) is not None) == by_trying(pattern, text)


WORDS = st.sampled_from([*'ab.|#()=!<>%"*?@0~\\[{ ', "@this", '#(a=="b")', "#(a)#"])


@given(st.lists(WORDS, max_size=20).map("".join))
def test_no_text_does_anything_but_compile_or_be_refused(text: str) -> None:
    try:
        compiled = Expression(text)
    except QueryError:
        return
    assert compiled.judge(b'{"a":[{"a":"b","b":[0,{"a":1}]}],"b":{"a":"b"}}') in {None, NO_MATCH, ERROR}
