r"""The short form in which people type searches, as a query tree.

    file_format:text/plain source.name:"my source" size:>=1000 timestamp:<2024-03 magic:PE* depth: setup exe

Parts are joined by *and*. ``field:value`` is exact, ``field:start*`` a prefix, ``field:>=x`` (also ``>``,
``<=``, ``<``) a range, ``field:`` asks for any value. Free words are looked for in all text; one that has
the length of an MD5, SHA-1, SHA-256 or SHA-512 in hexadecimal digits names a file. Quotes keep white space
and signs; inside them ``\"`` and ``\\`` stand for themselves.
"""

from __future__ import annotations

import re
from typing import Final

from pipeline import limits
from pipeline.errors import QueryError
from pipeline.index.query import And, Condition, Exists, Family, Prefix, Range, Term, Text
from pipeline.index.schema import schema_of

_HASH_FIELDS: Final = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
_BOUNDS: Final = {">=": "at_least", ">": "above", "<=": "at_most", "<": "below"}

_SPACE: Final = re.compile(r"\s*")
_FIELD: Final = re.compile(r"([^\s\":]+):(>=|<=|>|<)?")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"(?=\s|$)')
_BARE: Final = re.compile(r"[^\s\"]*(?=\s|$)")
_ESCAPED: Final = re.compile(r'\\(["\\])')
_HEX: Final = re.compile(r"[0-9a-fA-F]+")


def parse(text: str, family: Family = "binary2") -> Condition:
    """Read a typed search. An empty one finds everything.

    Raises:
        QueryError: It cannot be understood; says at which character, counted from 1.
    """
    if len(text) > limits.QUERY_MAX_CHARACTERS:
        raise QueryError("read the search", f"it is longer than {limits.QUERY_MAX_CHARACTERS} characters")
    parts: list[Condition] = []
    words: list[str] = []
    at = _skip(text, 0)
    while at < len(text):
        part, at = _part(text, at, family)
        if isinstance(part, Text):
            words.append(part.words)
        else:
            parts.append(part)
        at = _skip(text, at)
    if words:
        parts.append(Text(" ".join(words)))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _part(text: str, at: int, family: Family) -> tuple[Condition, int]:
    """Read one part and return it with the place behind it."""
    match = _FIELD.match(text, at)
    if match is None:
        value, quoted, end = _value(text, at)
        return _free(value, family, quoted=quoted), end
    field, sign = match.groups()
    _check_field(field, at, family)
    value, quoted, end = _value(text, match.end())
    if sign:
        if not value:
            raise _wrong(match.end(), f"nothing follows {sign}")
        return Range(field, **{_BOUNDS[sign]: value}), end
    if not value and not quoted:
        return Exists(field), end
    if field.rpartition(".")[2] in _HASH_FIELDS.values():
        value = value.lower()
    if value.endswith("*") and not quoted:
        return Prefix(field, value[:-1]), end
    return Term(field, (value,)), end


def _value(text: str, at: int) -> tuple[str, bool, int]:
    """Read a value; returns it, whether it stood in quotes, and the place behind it."""
    if text.startswith('"', at):
        match = _QUOTED.match(text, at)
        if match is None:
            raise _wrong(at, "the quotes that open here do not close before a space or the end")
        return _ESCAPED.sub(r"\1", match[1]), True, match.end()
    match = _BARE.match(text, at)
    if match is None:
        raise _wrong(text.index('"', at), 'quotes stand around a whole value; inside it write \\"')
    return match[0], False, match.end()


def _free(word: str, family: Family, *, quoted: bool) -> Condition:
    field = _HASH_FIELDS.get(len(word))
    if field and not quoted and _HEX.fullmatch(word) and field in schema_of(family).fields:
        return Term(field, (word.lower(),))
    return Text(word)


def _check_field(field: str, at: int, family: Family) -> None:
    try:
        schema_of(family).field(field)
    except QueryError as error:
        todo = error.todo or f'to search for these signs as text, write "{field}:…" in quotes'
        raise QueryError(f"{_place(at)}: {error.tried}", error.why, todo) from error


def _wrong(at: int, why: str) -> QueryError:
    return QueryError(_place(at), why)


def _place(at: int) -> str:
    return f"read the search at character {at + 1}"
