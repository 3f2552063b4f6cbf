"""The searchable text of a message: headers and payload (archive contract, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.archive.message import Message
from pipeline.archive.text.text import Text
from pipeline.errors import ParserMemory
from pipeline.identify.pool import ParserPool
from tests.archive.archived import a_message
from tests.archive.texts import QUIET, find_here, make_texts

JSON = "application/json"


async def text_of(message: Message, media_type: str = JSON, **changes: object) -> Text | None:
    """Give the text of one message."""
    (found,) = await make_texts(**changes).of([message], [media_type])
    return found


async def test_names_and_values_of_headers_come_before_the_payload() -> None:
    headers = (("title", b"Flash"), ("_sender", b"ada"), ("_id", b"x" * 16), ("_test", b"true"), ("n", b""))
    message = a_message(value=b'{"a": "b"}', headers=headers)
    assert await text_of(message) == ("title Flash sender ada n  a b", True)


async def test_headers_that_are_no_text_are_passed_over() -> None:
    message = a_message(value=b'"word"', headers=(("raw", b"\xff"), ("none", None), ("two", b"2")))
    assert await text_of(message) == ("two 2 word", True)


async def test_a_topic_that_is_not_searched_has_no_text_and_is_not_looked_into() -> None:
    asked: list[Sequence[object]] = []

    async def remember(payloads: Sequence[tuple[str, bytes]], most: int) -> list[tuple[str, bool]]:
        asked.append(payloads)
        return await find_here(payloads, most)

    batch = [a_message(value=b'"a"'), a_message(value=b'"b"', topic=QUIET), a_message(value=b'"c"')]
    found = await make_texts(payload_texts=remember).of(batch, [JSON] * 3)
    assert found == [("a", True), None, ("c", True)]
    assert asked == [[(JSON, b'"a"'), (JSON, b'"c"')]]


@pytest.mark.parametrize(
    ("value", "media_type", "found"),
    [
        (b'"' + b"x " * 498 + b'"', JSON, ("x " * 498)[:500]),
        (b'"' + b"x " * 499 + b'"', JSON, ""),
        (b"word", "image/png", ""),
        (b"\xff", "text/plain", ""),
        (b'{"a": ', JSON, ""),
    ],
    ids=["cut", "too large", "of another type", "no text", "broken"],
)
async def test_a_text_that_is_not_all_there_is_says_so(value: bytes, media_type: str, found: str) -> None:
    assert await text_of(a_message(value=value), media_type) == (found, False)


async def test_what_just_fits_is_all_there_is() -> None:
    assert await text_of(a_message(value=b'"' + b"x" * 100 + b'"'), max_characters=100) == ("x" * 100, True)
    assert await text_of(a_message(value=b'""', headers=(("a", b"b" * 98),)), max_characters=100) == (
        "a " + "b" * 98,
        True,
    )


@pytest.mark.parametrize("value", [b"", None])
async def test_nothing_is_missing_of_an_empty_payload(value: bytes | None) -> None:
    message = a_message(value=value, headers=(("a", b"b"),))
    assert await text_of(message, "application/x-empty") == ("a b", True)


async def test_headers_alone_may_be_too_long() -> None:
    message = a_message(value=b'"word"', headers=(("a", b"b " * 1000),))
    assert await text_of(message) == (("a " + "b " * 1000)[:500], False)


async def test_control_characters_become_spaces() -> None:
    message = a_message(value=b'"a\\u0000b\\n\\u0085c\\u007f"', headers=(("x\ty", b"\x01z"),))
    assert await text_of(message) == ("x y  z a b  c ", True)


async def test_a_payload_that_breaks_the_parser_costs_its_message_that_text_alone() -> None:
    async def find(payloads: Sequence[tuple[str, bytes]], most: int) -> list[tuple[str, bool]]:
        if any(b"bomb" in payload for _, payload in payloads):
            raise ParserMemory("look at payloads", "too much")
        return await find_here(payloads, most)

    batch = [a_message(n, value=b'"%s"' % word) for n, word in enumerate([b"one", b"bomb", b"two"])]
    batch[1] = a_message(1, value=b'"bomb"', headers=(("title", b"T"),))
    found = await make_texts(payload_texts=find).of(batch, [JSON] * 3)
    assert found == [("one", True), ("title T", False), ("two", True)]


async def test_the_parser_process_is_what_finds_texts(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    async with ParserPool(processes=1, rules_folder=tmp_path / "rules") as pool:
        found = await text_of(a_message(value=b'{"a": ["b"]}'), payload_texts=pool.texts)
    assert found == ("b", True)
