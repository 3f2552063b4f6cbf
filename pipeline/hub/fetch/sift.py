"""Choosing from a chunk what a consumer receives (dispatcher contract, section 12, steps 1 to 5).

Consumers are many and shapes are few: a chunk is judged shape by shape, so the cost of one more consumer
is a look-up for each shape, not a judgement of each event. The outcome, with its counts, is as if each
event had been judged alone and in order, up to the last one that was wanted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from pipeline.hub import steps
from pipeline.hub.fetch.chunk import Chunk, Index
from pipeline.hub.fetch.filters import Filter

AGED = f"{steps.AGED_OFF}-ageoff"
DELETED = f"{steps.DELETED}-deleted"

Removed = list[tuple[str, Sequence[Index]]]
"""Reasons, each with the events it removed."""


class Sifted(NamedTuple):
    """The events chosen, the index after the last one looked at, and the removed ones by reason."""

    chosen: Sequence[Index]
    end: Index
    removed: Counter[str]


def sift(  # noqa: PLR0917 - two sides: what there is, and what may pass
    chunk: Chunk,
    first: Index,
    wanted: int,
    rules: Filter,
    aged: AbstractSet[Index],
    deleted: AbstractSet[Index],
) -> Sifted:
    """Choose up to `wanted` events from index `first` on."""
    length = len(chunk)
    removed: Removed = []
    within = not rules.sized or (rules.over <= chunk.smallest_bytes and chunk.largest_bytes <= rules.under)
    if within and not first and not aged and not deleted:
        whole = _whole(chunk, rules)
        if len(whole.chosen) <= wanted:
            return whole
    if within and not aged and length - first > len(chunk.shapes):
        chosen = _by_shape(chunk, first, rules, removed)
    else:
        chosen = _one_by_one(chunk, first, rules, aged, removed, within=within)
    if deleted and not deleted.isdisjoint(chosen):
        removed.append((DELETED, [index for index in chosen if index in deleted]))
        chosen = [index for index in chosen if index not in deleted]
    end = length
    if len(chosen) > wanted:
        chosen = chosen[:wanted]
        end = chosen[-1] + 1
    counts: Counter[str] = Counter()
    for reason, indices in removed:
        count = len(indices) if end == length else bisect_left(indices, end)
        if count:
            counts[reason] += count
    return Sifted(chosen, end, counts)


def _whole(chunk: Chunk, rules: Filter) -> Sifted:
    """Choose from all of a chunk: what nearly every chunk comes to that is read for many consumers."""
    judge = rules.judge_shape
    passed: list[Sequence[Index]] = []
    counts: Counter[str] = Counter()
    for shape, indices in chunk.shapes.items():
        reason = judge(shape)
        if reason is None:
            passed.append(indices)
        else:
            counts[reason] += len(indices)
    return Sifted(_in_order(passed), len(chunk), counts)


def _in_order(passed: list[Sequence[Index]]) -> Sequence[Index]:
    return list(passed[0]) if len(passed) == 1 else sorted(index for some in passed for index in some)


def _by_shape(chunk: Chunk, first: Index, rules: Filter, removed: Removed) -> Sequence[Index]:
    passed: list[Sequence[Index]] = []
    for shape, everywhere in chunk.shapes.items():
        indices = everywhere[bisect_left(everywhere, first) :] if first else everywhere
        if not indices:
            continue
        reason = rules.judge_shape(shape)
        if reason is None:
            passed.append(indices)
        else:
            removed.append((reason, indices))
    return _in_order(passed)


def _one_by_one(
    chunk: Chunk, first: Index, rules: Filter, aged: AbstractSet[Index], removed: Removed, *, within: bool
) -> list[Index]:
    passed = []
    reasons: dict[str, list[Index]] = {}
    glances = chunk.glances
    for index in range(first, len(glances)):
        glance = glances[index]
        if index in aged:
            reason: str | None = AGED
        elif within:
            reason = rules.judge_shape(glance.shape)
        else:
            reason = rules.judge(glance)
        if reason is None:
            passed.append(index)
        else:
            reasons.setdefault(reason, []).append(index)
    removed += reasons.items()
    return passed
