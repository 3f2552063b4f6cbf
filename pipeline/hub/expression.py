"""Filters written as paths into the stored event, in the GJSON syntax; the old parameter ``filter``.

``entity.datastreams.#(label=="content")`` follows names and array places; ``#`` counts an array or goes on
in each of its elements, ``#(…)`` finds the first element that meets a condition and ``#(…)#`` all of them,
``|`` goes on with what was found as one thing. ``..`` in front puts the event itself into an array, so that
its own fields can be compared: ``..#(action=="sourced")``. What builds new values (multipaths, literals,
modifiers with arguments) is refused; see docs/http.md.

An event passes when the path leads to something other than false, null, an empty text, list or object.
Judging an event costs a bounded number of steps, whatever the expression and the event. Contract:
dispatcher section 2.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from pipeline import limits
from pipeline.errors import QueryError
from pipeline.hub.expression_parts import Each, Find, Key, Modify, Part, Path, Pattern, parse

NO_MATCH: Final = "FilterExpression-no_match"
ERROR: Final = "FilterExpression-error"
_MISSING: Final = object()
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CHARACTERS_A_STEP = 64
"""Characters that are compared with one of a pattern for one step."""


class Expression:
    """A compiled filter; several threads may use it at once.

    Raises:
        QueryError: The text is too long, or is no such path.
    """

    def __init__(self, text: str) -> None:
        if len(text) > limits.FILTER_EXPRESSION_MAX_CHARS:
            why = f"it is longer than {limits.FILTER_EXPRESSION_MAX_CHARS} characters"
            raise QueryError("read a filter expression", why)
        self._in_list = text.startswith("..")
        self._path = parse(text.removeprefix(".."))

    def judge(self, value: bytes) -> str | None:
        """Say under which count a stored event is removed; None when it passes. Never raises.

        The whole event is decoded: many, or large ones, are for a thread. One that cannot be read, or not
        within the steps allowed, is removed.
        """
        try:
            event = msgspec.json.decode(value)
            found = _Walk().along(self._path, [event] if self._in_list else event)
        except (ValueError, RecursionError, _TooLongError):
            return ERROR
        return NO_MATCH if _is_nothing(found) else None


class _TooLongError(Exception):
    """The steps allowed for one event are used up."""


class _Walk:
    """Follows a path through one event; counts its steps."""

    def __init__(self) -> None:
        self._left = limits.FILTER_EXPRESSION_STEPS

    def along(self, path: Path, value: Any) -> Any:
        for run in path:
            value = self._run(run, value)
        return value

    def _run(self, parts: tuple[Part, ...], value: Any) -> Any:
        for place, part in enumerate(parts):
            if value is _MISSING:
                break
            rest = parts[place + 1 :]
            match part:
                case Key():
                    value = self._key(part, value)
                case Modify(name):
                    value = self._modified(name, value)
                case Each():
                    if not isinstance(value, list):
                        return _MISSING
                    return self._each(rest, value) if rest else len(value)
                case Find(every=False):
                    value = next(self._matches(part, value), _MISSING)
                case Find():
                    found = list(self._matches(part, value))
                    return self._each(rest, found) if rest else found
        return value

    def _spend(self, steps: int = 1) -> None:
        self._left -= steps
        if self._left < 0:
            raise _TooLongError

    def _key(self, key: Key, value: Any) -> Any:
        self._spend()
        if isinstance(value, dict):
            if key.pattern is None:
                return value.get(key.name, _MISSING)
            pattern = Pattern(key.name, key.pattern)
            return next((found for name, found in value.items() if self._is_like(name, pattern)), _MISSING)
        if isinstance(value, list) and key.name.isdecimal() and int(key.name) < len(value):
            return value[int(key.name)]
        return _MISSING

    def _each(self, parts: tuple[Part, ...], values: list[Any]) -> list[Any]:
        self._spend(len(values))
        found = (self._run(parts, value) for value in values)
        return [value for value in found if value is not _MISSING]

    def _matches(self, find: Find, values: Any) -> Any:
        for value in values if isinstance(values, list) else ():
            self._spend()
            if self._meets(find, self.along(find.path, value)):
                yield value

    def _meets(self, find: Find, value: Any) -> bool:
        sign, wanted = find.operator, find.value
        if value is _MISSING:
            return False
        if sign is None:
            return bool(value != [])
        if sign in {"%", "!%"}:
            return isinstance(value, str) and self._is_like(value, wanted) == (sign == "%")
        return _holds(value, sign, wanted)

    def _is_like(self, text: str, pattern: Pattern) -> bool:
        self._spend(1 + len(text) * (1 + len(pattern.text)) // _CHARACTERS_A_STEP)
        return pattern.matches.match(text) is not None

    def _modified(self, name: str, value: Any) -> Any:
        self._spend(len(value) if isinstance(value, dict | list) else 1)
        match name, value:
            case "keys", dict():
                return list(value)
            case "values", dict():
                return list(value.values())
            case "reverse", list():
                return value[::-1]
            case "flatten", list():
                return self._flat(value)
            case "keys" | "values", _:
                return _MISSING
            case _:
                return value

    def _flat(self, values: list[Any]) -> list[Any]:
        flat: list[Any] = []
        for value in values:
            inner = value if isinstance(value, list) else [value]
            self._spend(len(inner))
            flat += inner
        return flat


def _holds(value: Any, sign: str, wanted: Any) -> bool:
    """Compare texts with texts, numbers with numbers; true, false and null with their like."""
    if sign == "!=":
        return not _holds(value, "=", wanted)
    if _kind(value) is None or _kind(value) != _kind(wanted):
        return False
    return sign == "=" if value is None else _COMPARE[sign](value, wanted)


def _kind(value: Any) -> str | None:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "text"
    return None


def _is_nothing(value: Any) -> bool:
    return value is _MISSING or value is None or value is False or value in ("", [], {})
