"""Hypothesis strategies: any event of a model, and valid binary events."""

from __future__ import annotations

import datetime as dt
import json
import types
import typing
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st

from pipeline.events import names, raw, times
from pipeline.events.models import (
    STRUCTS,
    Author,
    BinaryEntity,
    BinaryEvent,
    Datastream,
    Event,
    PathNode,
    Source,
)
from pipeline.events.names import Model

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
WORD = st.text("abcXYZ09-_é", min_size=1, max_size=6)
MAPPING = st.dictionaries(TEXT, TEXT, max_size=4)
_EARLIEST, _LATEST = dt.datetime(2, 1, 1), dt.datetime(9998, 12, 31)  # noqa: DTZ001 - the strategy adds it
MOMENTS = st.datetimes(_EARLIEST, _LATEST, timezones=st.just(dt.UTC))
NORMAL_TIMES = MOMENTS.map(times.text_of)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
RAWS = JSON_VALUES.map(lambda value: raw.compact(msgspec.Raw(json.dumps(value).encode())))

OPTIONAL_RAWS = st.just(msgspec.UNSET) | RAWS.filter(lambda value: value != raw.NULL)

_BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "model_version": st.just(6),
    "timestamp": NORMAL_TIMES,
    "direct_expiry": NORMAL_TIMES,
    "info": OPTIONAL_RAWS,
    "metadata": OPTIONAL_RAWS,
}


@cache
def any_event(model: Model) -> st.SearchStrategy[Event]:
    """Give any event of a model with the current version and times in normal form."""
    return _struct(STRUCTS[model])


def _struct(kind: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind, include_extras=False)
    return st.builds(kind, **{name: _field(name, hint) for name, hint in hints.items()})


def _field(name: str, hint: Any) -> st.SearchStrategy[Any]:
    if name in _BY_NAME:
        return _BY_NAME[name]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return st.lists(_field("", arguments[0]), max_size=2).map(tuple)
    if origin is dict:
        return MAPPING
    if origin in (types.UnionType, typing.Union):
        return st.none() | _struct(arguments[0])
    return _scalar(hint)


def _scalar(hint: Any) -> st.SearchStrategy[Any]:
    scalars: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT,
        bool: st.booleans(),
        int: st.integers(0, 2**32 - 1),
        float: st.floats(0, 1e9),
        msgspec.Raw: RAWS,
    }
    return scalars[hint] if hint in scalars else _struct(hint)


AUTHORS = st.builds(
    Author, name=WORD, version=TEXT, category=TEXT, security=st.sampled_from(["", "LOW", "HIGH"])
)


def nodes(action: st.SearchStrategy[str]) -> st.SearchStrategy[PathNode]:
    """Give path nodes that break no rule."""
    return st.builds(PathNode, author=AUTHORS, action=action, sha256=WORD, timestamp=NORMAL_TIMES)


PATHS = st.tuples(
    st.lists(nodes(st.sampled_from(["sourced", "extracted", "augmented", "mapped"])), max_size=2),
    nodes(st.sampled_from(names.ACTIONS)),
).map(lambda parts: (*parts[0], parts[1]))
SOURCES = st.builds(
    Source,
    name=WORD,
    references=MAPPING,
    security=TEXT,
    path=PATHS,
    timestamp=NORMAL_TIMES,
    settings=MAPPING,
)
VALID_BINARIES = st.builds(
    BinaryEvent,
    model_version=st.just(6),
    timestamp=NORMAL_TIMES,
    author=AUTHORS,
    source=SOURCES,
    entity=st.builds(
        BinaryEntity,
        sha256=WORD,
        datastreams=st.just((Datastream(label="content", size=1),)),
        info=OPTIONAL_RAWS,
    ),
    action=st.sampled_from(["sourced", "extracted"]),
)
