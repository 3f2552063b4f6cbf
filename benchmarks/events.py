"""Events a second through decoding, encoding and key computation, on one core.

    python -m benchmarks.events [--seconds S]

Each row is measured beside bare orjson in the same run: ``orjson.loads`` for decoding, ``orjson.dumps`` of
the same event for encoding, both for the rows that do both. Rounds of ours and of the bare calls alternate,
the best round of each counts, so that a busy machine disturbs both alike.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from pipeline.events.codec import decode_posted, decode_stored, encode
from pipeline.events.ids import with_key
from pipeline.events.models import BinaryEvent
from pipeline.events.records import completed

_SIZES = (1024, 3 * 1024)
_LIST = 100
_ROUNDS = 7
_BARE_KEY = "a016528e3fee225dd6c1693fb67376ea"


class Rate(NamedTuple):
    """One measured row: events a second of ours and of bare orjson."""

    name: str
    ours: float
    bare: float


def make_event(size_bytes: int) -> bytes:
    """Make an enriched event of about that many bytes, as a plugin posts it."""
    node = {
        "author": {"name": "bob", "category": "user"},
        "action": "sourced",
        "sha256": "ab" * 32,
        "timestamp": "2026-11-01T10:20:30.123456Z",
    }
    event: dict[str, Any] = {
        "model_version": 6,
        "kafka_key": _BARE_KEY,
        "timestamp": "2026-11-01T10:20:31.5Z",
        "author": {"name": "entropy", "version": "1.2", "category": "plugin"},
        "source": {
            "name": "testing",
            "references": {"task_id": "4711", "region": "north"},
            "path": [node, {**node, "action": "enriched", "relationship": {"action": "scan"}}],
            "timestamp": "2026-11-01T10:20:30Z",
        },
        "entity": {"sha256": "ab" * 32, "features": [], "info": {"entropy": [1.50, 7.25]}},
        "action": "enriched",
        "flags": {},
    }
    features = event["entity"]["features"]
    while len(json.dumps(event, separators=(",", ":"))) < size_bytes:
        features.append({"name": "tag", "value": f"value {len(features)}", "type": "string", "label": "x"})
    return json.dumps(event, separators=(",", ":")).encode()


def measure(name: str, ours: Callable[[], object], bare: Callable[[], object], *, seconds: float) -> Rate:
    """Time two functions turn by turn; the best round of each counts."""
    calls = max(1, int(seconds / _ROUNDS / 2 / _once(ours)))
    best = [float("inf"), float("inf")]
    for _ in range(_ROUNDS):
        for index, function in enumerate((ours, bare)):
            started = time.perf_counter()
            for _ in range(calls):
                function()
            best[index] = min(best[index], (time.perf_counter() - started) / calls)
    return Rate(name, 1 / best[0], 1 / best[1])


def _once(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(20):
        function()
    return (time.perf_counter() - started) / 20


def run(*, seconds: float = 1.0) -> list[Rate]:
    """Measure every row, each for about `seconds`."""
    rates = []
    for size in _SIZES:
        value = make_event(size)
        event = decode_stored("binary", value)
        assert isinstance(event, BinaryEvent)
        rates += _rows(f"{size // 1024} KiB", value, event, seconds)
    return rates


def _rows(size: str, value: bytes, event: BinaryEvent, seconds: float) -> list[Rate]:
    plain = orjson.loads(value)
    body = b"[" + b",".join([value] * _LIST) + b"]"

    def row(name: str, ours: Callable[[], object], bare: Callable[[], object]) -> Rate:
        return measure(f"{name}, {size}", ours, bare, seconds=seconds)

    posted = row(
        f"decode posted list of {_LIST}", lambda: decode_posted("binary", body), lambda: orjson.loads(body)
    )
    return [
        row("decode stored", lambda: decode_stored("binary", value), lambda: orjson.loads(value)),
        row("encode", lambda: encode(event), lambda: orjson.dumps(plain)),
        Rate(posted.name, posted.ours * _LIST, posted.bare * _LIST),
        row("key", lambda: with_key(event, bytes), lambda: orjson.loads(value)),
        row("key and tracking", lambda: completed(event, bytes), lambda: orjson.loads(value)),
        row(
            "decode posted, complete, encode",
            lambda: encode(completed(decode_posted("binary", value).events[0], bytes)),
            lambda: orjson.dumps(orjson.loads(value)),
        ),
    ]


def main() -> None:
    """Print the rows as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="per row")
    rates = run(seconds=parser.parse_args().seconds)
    print(f"{'':44} {'ours/s':>10} {'orjson/s':>10} {'ratio':>6}")
    for name, ours, bare in rates:
        print(f"{name:44} {ours:>10,.0f} {bare:>10,.0f} {ours / bare:>6.2f}")


if __name__ == "__main__":
    main()
