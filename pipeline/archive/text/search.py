"""Which archived messages hold the words of a search (archive contract, sections 6 and 17.1).

A search is written as for a web search engine: words that must all occur, ``"words side by side"``,
``or`` between what may be one or the other, ``-`` before what must not occur. Whatever is typed is a
search: nothing in it is an error, and nothing reaches the database as anything but words. It is read here,
as PostgreSQL's `websearch_to_tsquery` would, for both databases; they differ in what they take for a word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, column, false, func, literal_column, or_, select, table
from sqlalchemy.sql import Select

from pipeline import limits_archive
from pipeline.archive.text.text import clean
from pipeline.database.tables import message_ts, messages
from pipeline.errors import QueryError

_BREAK = r"[\s!&|()]*"
_OPERAND = re.compile(rf'{_BREAK}((?:-{_BREAK})*)(?:"([^"]*)"?|(:?[^\s"!&|():]+|:))')
"""Minus signs, then a phrase or a word. A word may begin with a colon; any other colon ends it."""
_OR = re.compile(rf"{_BREAK}or(?![-\w])(?=.\s*\S)", re.IGNORECASE | re.DOTALL)

_WORDS = table("message_words", column("rowid"), column("message_words"))
"""SQLite's full-text index; its column of its own name is what it is asked by."""
_ROW: ColumnElement[int] = literal_column("message_ts.rowid")


def condition(kind: Literal["postgresql", "sqlite"], search: str) -> ColumnElement[bool]:
    """Give the condition on `messages` that a message's text answers a search; for that kind of database.

    A search without a word in it, such as ``!?``, finds nothing. A message without text is never found,
    also not by what must not occur.

    Raises:
        QueryError: It is longer than `limits_archive.SEARCH_MAX_CHARACTERS`.
    """
    if len(search) > limits_archive.SEARCH_MAX_CHARACTERS:
        why = f"it has {len(search)} characters, the limit is {limits_archive.SEARCH_MAX_CHARACTERS}"
        raise QueryError("search the archive", why)
    choices = _choices(clean(search))
    if not choices:
        return false()
    found = _on_sqlite(choices) if kind == "sqlite" else _on_postgres(choices)
    return messages.c.uuid.in_(select(message_ts.c.uuid).where(found))


def _on_postgres(choices: Sequence[_Choice]) -> ColumnElement[bool]:
    # Written anew, since PostgreSQL refuses some of what may be typed, such as forty minus signs.
    written = " or ".join(
        " ".join([_quoted(choice.wanted), *(f"-{_quoted([text])}" for text in choice.unwanted)])
        for choice in choices
    )
    return message_ts.c.text_data.op("@@")(func.websearch_to_tsquery(written))


def _on_sqlite(choices: Sequence[_Choice]) -> ColumnElement[bool]:
    named = [_expression(choice) for choice in choices if choice.wanted]
    found = [_ROW.in_(_matching(" OR ".join(named)))] if named else []
    # FTS5 can only take away from what was found: what must not occur, alone, is asked for the other way.
    others = [
        _ROW.not_in(_matching(_quoted(choice.unwanted, " OR "))) for choice in choices if not choice.wanted
    ]
    return or_(*found, *others)


def _matching(expression: str) -> Select[Any]:
    return select(_WORDS.c.rowid).where(_WORDS.c.message_words.op("MATCH")(expression))


class _Choice(NamedTuple):
    """Words and phrases that must all occur, and those that must not."""

    wanted: list[str]
    unwanted: list[str]


def _choices(search: str) -> list[_Choice]:
    """Read a search as the choices between its ``or``; those without a word are left out."""
    choices = [_Choice([], [])]
    position = 0
    while operand := _OPERAND.match(search, position):
        minus, phrase, word = operand.groups()
        text = word if phrase is None else phrase
        if any(character.isalnum() for character in text):
            choices[-1][minus.count("-") % 2].append(text)
        position = operand.end()
        if alternative := _OR.match(search, position):
            position = alternative.end()
            choices.append(_Choice([], []))
    return [choice for choice in choices if any(choice)]


def _expression(choice: _Choice) -> str:
    """Write a choice that names what must occur as an FTS5 expression."""
    wanted = _quoted(choice.wanted, " AND ")
    return f"(({wanted}) NOT ({_quoted(choice.unwanted, ' OR ')}))" if choice.unwanted else f"({wanted})"


def _quoted(texts: Sequence[str], between: str = " ") -> str:
    """Write texts in quotation marks, where nothing has a meaning; they hold none themselves."""
    return between.join(f'"{text}"' for text in texts)
