"""Choosing from a chunk what a consumer receives (dispatcher contract, section 12, steps 1 to 5).

Consumers are many and shapes are few: a chunk is judged shape by shape, so the cost of one more consumer
is a look-up for each shape, not a judgement of each event. The outcome, with its counts, is as if each
event had been judged alone and in order, up to the last one that was wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from pipeline.hub import steps
from pipeline.hub.fetch.chunk import Chunk, Index
from pipeline.hub.fetch.filters import Filter
from pipeline.hub.fetch.glance import Glance

AGED = f"{steps.AGED_OFF}-ageoff"
DELETED = f"{steps.DELETED}-deleted"


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
    """Choose up to `wanted` events from index `first` on, at least one."""
    within = not rules.sized or (rules.over <= chunk.smallest_bytes and chunk.largest_bytes <= rules.under)
    if within and not first and not aged and not deleted:
        whole = _whole(chunk, rules)
        if len(whole.chosen) <= wanted:
            return whole
    judge = _by_shape(rules) if within else rules.judge
    chosen: list[Index] = []
    removed: Counter[str] = Counter()
    since: Counter[str] = Counter()
    """Those removed since the last one chosen: they count when there is nothing to choose after them."""
    for index in range(first, len(chunk)):
        reason = AGED if index in aged else judge(chunk.glances[index])
        if reason is None and index in deleted:
            reason = DELETED
        if reason is not None:
            since[reason] += 1
        elif len(chosen) == wanted:
            return Sifted(chosen, chosen[-1] + 1, removed)
        else:
            chosen.append(index)
            if since:
                removed += since
                since.clear()
    return Sifted(chosen, len(chunk), removed + since)


def _by_shape(rules: Filter) -> Callable[[Glance], str | None]:
    judge_shape = rules.judge_shape
    return lambda glance: judge_shape(glance.shape)


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
    chosen = list(passed[0]) if len(passed) == 1 else sorted(index for some in passed for index in some)
    return Sifted(chosen, len(chunk), counts)
