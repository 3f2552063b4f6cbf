"""Object stores against the simplest thing that does the same: a dictionary."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput, Conflict, NotFound
from tests.stores import KINDS, Bench, open_bench

_HASH = "0123456789abcdef" * 4
_KEYS = st.sampled_from(
    [f"s/content/{_HASH}", f"s/content/{_HASH[::-1]}", f"o/content/{_HASH}", "a/b", "a/c", "b"]
)
_DATA = st.binary(max_size=40)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _KEYS, _DATA),
        st.tuples(st.just("put if absent"), _KEYS, _DATA),
        st.tuples(st.just("delete"), _KEYS, st.none()),
        st.tuples(st.just("copy"), _KEYS, _KEYS),
        st.tuples(st.just("read"), _KEYS, st.tuples(st.integers(0, 50), st.none() | st.integers(0, 50))),
        st.tuples(st.just("list"), st.sampled_from(["", "a/", "s", "s/content/", "x"]), st.none()),
    ),
    max_size=30,
)


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(steps=_STEPS)
def test_a_store_never_differs_from_a_dictionary(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, steps: list[tuple[str, str, Any]]
) -> None:
    """Any sequence of operations has the result it has on a dictionary."""

    async def run() -> None:
        folder, unique = tmp_path / uuid.uuid4().hex, "t" + uuid.uuid4().hex
        async with open_bench(kind, folder, unique, lambda: request.getfixturevalue("s3_server")) as opened:
            model: dict[str, bytes] = {}
            for step in steps:
                assert await _outcome(opened, step) == _expected(model, step)
            assert await opened.keys() == set(model)
            for key, data in model.items():
                assert await opened.read(key) == data

    asyncio.run(run())


async def _outcome(bench: Bench, step: tuple[str, str, Any]) -> object:
    what, key, with_ = step
    try:
        if what.startswith("put"):
            put = await bench.store.put(key, with_, only_if_absent=what == "put if absent")
            return put.size_bytes
        if what == "delete":
            return await bench.store.delete(key)
        if what == "read":
            return b"".join([c async for c in await bench.store.get(key, first=with_[0], last=with_[1])])
        if what == "list":
            return await bench.keys(key)
        await bench.store.copy(key, with_)
    except (BadInput, Conflict, NotFound) as error:
        return type(error)
    return None


def _expected(model: dict[str, bytes], step: tuple[str, str, Any]) -> object:
    what, key, with_ = step
    there = model.get(key)
    if what == "delete":
        return model.pop(key, None) is not None
    if what == "list":
        return {each for each in model if each.startswith(key)}
    if what == "read":
        return _expected_read(there, *with_)
    return _expected_write(model, what, key, with_)


def _expected_write(model: dict[str, bytes], what: str, key: str, with_: Any) -> object:
    if what == "copy":
        if key not in model:
            return NotFound
        model[with_] = model[key]
        return None
    if what == "put if absent" and key in model:
        return Conflict
    model[key] = with_
    return len(with_)


def _expected_read(there: bytes | None, first: int, last: int | None) -> object:
    if last is not None and last < first:
        return BadInput
    if there is None:
        return NotFound
    if first > 0 and first >= len(there):
        return BadInput
    return there[first:] if last is None else there[first : last + 1]
