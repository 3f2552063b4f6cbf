"""The parts of a filter expression, and how they are read from its text. See `pipeline.hub.expression`."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from pipeline import limits
from pipeline.errors import QueryError

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "%", "!%"]
MODIFIERS: Final = ("this", "keys", "values", "reverse", "flatten")


class Key(msgspec.Struct, frozen=True):
    """Goes to a name of an object, or to a place of an array."""

    name: str
    pattern: re.Pattern[str] | None = None
    """Instead of the name, when it had wildcards: the first name that matches counts."""


class Each(msgspec.Struct, frozen=True):
    """`#`: what follows is looked up in every element; at the end, their number."""


class Find(msgspec.Struct, frozen=True):
    """`#(…)`: the first element that meets the condition, or all of them."""

    path: Path
    """What of the element is compared; empty: itself."""
    operator: Operator | None
    """None: it has to be there."""
    value: Any
    """What it is compared with; a pattern for `%`."""
    every: bool


class Modify(msgspec.Struct, frozen=True):
    """`@name`: a simple change of what was found."""

    name: str


class Pattern(msgspec.Struct, frozen=True):
    """A text with wildcards."""

    text: str
    matches: re.Pattern[str]


Part = Key | Each | Find | Modify
Path = tuple[tuple[Part, ...], ...]
"""Parts between the pipes; each run of parts is applied to what the one before it found."""

_CONDITION = re.compile(r"==|!=|<=|>=|!%|=|<|>|%")


def parse(text: str) -> Path:
    """Read an expression.

    Raises:
        QueryError: It is no path, or has something that is not supported.
    """
    return _path(text, 0)


def wildcards(text: str) -> re.Pattern[str]:
    r"""Compile a text with wildcards: ``*`` is anything, ``?`` one character; ``\`` takes that from them.

    What lies before the last star is never looked for twice, so that no text takes long to match.
    """
    runs = [""]
    for char, escaped in _characters(text):
        if char == "*" and not escaped:
            runs.append("")
        else:
            runs[-1] += "." if char == "?" and not escaped else re.escape(char)
    if len(runs) == 1:
        return re.compile(rf"{runs[0]}\Z", re.DOTALL)
    first, *middle, last = runs
    between = "".join(f"(?>.*?{run})" for run in middle if run)
    return re.compile(rf"{first}{between}.*{last}\Z", re.DOTALL)


def _path(text: str, depth: int) -> Path:
    if depth > limits.FILTER_EXPRESSION_DEPTH:
        raise _wrong(text, f"more than {limits.FILTER_EXPRESSION_DEPTH} conditions inside each other")
    runs: list[tuple[Part, ...]] = []
    for run in _split(text, "|"):
        words = _split(run, ".")
        if not all(words):
            raise _wrong(text, "a name is missing beside a '.' or '|'")
        runs.append(tuple(_part(word, depth) for word in words))
    return tuple(runs)


def _part(word: str, depth: int) -> Part:
    if word == "#":
        return Each()
    if word.startswith("#("):
        return _find(word, depth)
    if word.startswith("@"):
        if word[1:] not in MODIFIERS:
            raise _wrong(word, f"modifiers are {', '.join(f'@{name}' for name in MODIFIERS)}")
        return Modify(word[1:])
    if word[0] in "{[!":
        raise _wrong(word, "new objects, lists and values are not supported")
    if any(char in "*?" and not escaped for char, escaped in _characters(word)):
        return Key(word, wildcards(word))
    return Key("".join(char for char, _ in _characters(word)))


def _find(word: str, depth: int) -> Find:
    every = word.endswith(")#")
    body = word[2 : -2 if every else -1]
    if not word.endswith(")#" if every else ")"):
        raise _wrong(word, "a name or '.' is missing behind a ')'")
    at = _operator(body)
    if at is None:
        if not body.strip():
            raise _wrong(word, "a condition is empty")
        return Find(_path(body.strip(), depth + 1), None, None, every)
    key, value = body[: at.start()].strip(), body[at.end() :].strip()
    sign: Any = "=" if at[0] == "==" else at[0]
    path = _path(key, depth + 1) if key else ()
    return Find(path, sign, _value(word, sign, value), every)


def _value(word: str, sign: Operator, text: str) -> Any:
    if not text or text.startswith("~"):
        raise _wrong(word, "a value to compare with is missing")
    try:
        value = msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        value = text  # as GJSON has it, quotes may be left out
    if isinstance(value, dict | list):
        raise _wrong(word, "objects and lists cannot be compared")
    if sign in {"%", "!%"}:
        return Pattern(str(value), wildcards(str(value)))
    return value


def _operator(body: str) -> re.Match[str] | None:
    """Find the operator that stands in no text, no escape and no inner condition."""
    for at in _plain(body):
        found = _CONDITION.match(body, at)
        if found:
            return found
    return None


def _split(text: str, delimiter: str) -> list[str]:
    cuts = [at for at in _plain(text) if text[at] == delimiter]
    starts = [0, *(at + 1 for at in cuts)]
    return [text[start:end] for start, end in zip(starts, [*cuts, len(text)], strict=True)]


def _plain(text: str) -> list[int]:
    """Places of the characters outside of quotes, escapes and parentheses."""
    places, depth, quoted = [], 0, False
    for at, (char, escaped) in _placed(text):
        if escaped:
            continue
        if char == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth < 0:
                break
        elif depth == 0:
            places.append(at)
    if depth or quoted:
        raise _wrong(text, "quotes or parentheses do not match")
    return places


def _placed(text: str) -> list[tuple[int, tuple[str, bool]]]:
    """Characters with their places, the escaping ones left out."""
    found, escaped = [], False
    for at, char in enumerate(text):
        if char == "\\" and not escaped:
            escaped = True
            continue
        found.append((at, (char, escaped)))
        escaped = False
    return found


def _characters(text: str) -> list[tuple[str, bool]]:
    return [char for _, char in _placed(text)]


def _wrong(text: str, why: str) -> QueryError:
    return QueryError("read a filter expression", f"{why}: {text!r}")
