"""The simplest thing that hands out events as the hub does: one list, a place in it, what came back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.web.fetching import named

REJECT = "FilterConsumerRules-reject"
TOO_LARGE, TOO_SMALL, SELF = f"{REJECT}_content_too_large", f"{REJECT}_content_too_small", f"{REJECT}_self"


class Published(NamedTuple):
    """What filters see of an event; its name is its place in the list."""

    size: int
    author: str

    def event(self, name: int) -> dict[str, Any]:
        """Make the event."""
        return named(name, size=self.size, author={"name": self.author})


class Rules(NamedTuple):
    """A filter; 0 is no limit."""

    under: int = 0
    over: int = 0
    not_own: bool = False

    def reason(self, event: Published, consumer: str) -> str | None:
        """Say why an event is held back."""
        if self.not_own and event.author == consumer:
            return SELF
        if self.under and event.size > self.under:
            return TOO_LARGE
        return TOO_SMALL if event.size < self.over else None


@dataclass
class Position:
    """Where one consumer is."""

    consumer: str
    next: int = 0
    returned: list[int] = field(default_factory=list)

    def check(
        self, log: list[Published], rules: Rules, count: int, names: list[int], filters: dict[str, int]
    ) -> None:
        """Accept an answer, and move on by what it says was looked at."""
        counts: Counter[str] = Counter()
        expected: list[int] = []
        while self.returned and len(expected) < count:
            self._judge(log, self.returned.pop(0), rules, expected, counts)
        while self.next < len(log) and len(expected) < count:
            self._judge(log, self.next, rules, expected, counts)
            self.next += 1
        # Behind the last one that was wanted more may have been looked at, if none of it was wanted.
        ahead: list[int] = []
        while sum(counts.values()) < sum(filters.values()) and not ahead and self.next < len(log):
            self._judge(log, self.next, rules, ahead, counts)
            self.next += 1
        assert names == expected
        assert ahead == []
        assert filters == dict(counts)

    def _judge(
        self, log: list[Published], place: int, rules: Rules, passed: list[int], counts: Counter[str]
    ) -> None:
        reason = rules.reason(log[place], self.consumer)
        if reason is None:
            passed.append(place)
        else:
            counts[reason] += 1
