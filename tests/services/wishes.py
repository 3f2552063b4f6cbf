"""Events told by a number, and what many different consumers of the hub want of them.

What a consumer should receive is said twice: as the parameters of its fetches, and as a rule over plain
facts (`Wish.selects`), which knows nothing of how the hub filters. Contract: dispatcher sections 10, 12.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.events.samples import BINARY, NODE, SOURCE

ACTIONS = ("sourced", "extracted", "augmented", "enriched")
FORMATS = ("text/plain", "text/json", "executable/windows/pe32", "archive/zip", "image/png")
AUTHORS = ("feed", "mill", "weir")
SIZES = 10_000
COLOURS = 50
DEADLINE_SECONDS = 2
_PERIOD = 30_000
"""Events whose numbers differ by this differ in nothing a wish is about."""


class Facts(NamedTuple):
    """What is true of the event with a number."""

    number: int
    action: str
    author: str
    file_format: str
    size: int
    colour: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its streams."""
        return {"augmented": ("content", "text"), "enriched": ()}.get(self.action, ("content",))


def facts_of(number: int) -> Facts:
    """Tell the facts of an event; they vary independently of each other."""
    return Facts(
        number,
        ACTIONS[number % 4],
        AUTHORS[number // 4 % 3],
        FORMATS[number // 12 % 5],
        number * 7919 % SIZES,
        number * 31 % COLOURS,
    )


def event_of(number: int) -> dict[str, Any]:
    """Make the event with a number."""
    facts = facts_of(number)
    sha256 = f"{number:064x}"
    author = {"name": facts.author, "version": "1", "category": "plugin"}
    path = {**NODE, "sha256": sha256, "action": facts.action, "author": author}
    streams = [
        {"label": label, "size": facts.size, "sha256": sha256, "file_format": facts.file_format}
        for label in facts.labels
    ]
    references = {"number": str(number), "colour": str(facts.colour)}
    return {
        **BINARY,
        "action": facts.action,
        "author": author,
        "source": {**SOURCE, "references": references, "path": [path]},
        "entity": {"sha256": sha256, "datastreams": streams},
    }


@dataclass(frozen=True)
class Wish:
    """What one consumer wants."""

    name: str
    active: bool = False
    live: bool = False
    """It reads what comes after it registered; otherwise everything from the beginning."""
    actions: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    label: str = ""
    """It wants streams of this label only, or any when it is `*`."""
    file_format: str = ""
    """What the formats of its streams begin with."""
    over: int = 0
    under: int = 0
    deny_self: bool = False
    colour: int | None = None

    def query(self) -> dict[str, str | list[str]]:
        """Say it as the parameters of a fetch."""
        said = {
            "name": self.name,
            "version": "1.0",
            "count": "50" if self.active else "500",
            "deadline": str(DEADLINE_SECONDS),
            "r-live" if self.live else "r-historic": "true",
            "r-action": list(self.actions),
            "d-action": list(self.denied),
            "r-streams": f"{self.label},{self.file_format}".rstrip(",") if self.label else "",
            "r-over-content-size": str(self.over) if self.over else "",
            "r-under-content-size": str(self.under) if self.under else "",
            "d-self": "true" if self.deny_self else "",
            "filter": "" if self.colour is None else f'..#(source.references.colour=="{self.colour}")',
        }
        return {name: value for name, value in said.items() if value}

    def selects(self, facts: Facts) -> bool:
        """Say it as a rule over facts (section 12, step 4)."""
        if self.actions and facts.action not in self.actions:
            return False
        if facts.action in self.denied or (self.deny_self and facts.author == self.name):
            return False
        for label in facts.labels if self.label else ():
            if self.label not in {"*", label} or not facts.file_format.startswith(self.file_format):
                return False
        if self.over or self.under:
            if "content" not in facts.labels or facts.size < self.over:
                return False
            if self.under and facts.size > self.under:
                return False
        return self.colour is None or self.colour == facts.colour

    def numbers(self, of: range) -> list[int]:
        """Return the numbers of the events it selects."""
        chosen = [self.selects(facts_of(number)) for number in range(min(_PERIOD, of.stop))]
        return [number for number in of if chosen[number % _PERIOD]]


def wishes(count: int, chance: random.Random) -> list[Wish]:
    """Make so many different wishes: half of them active, which want little; half of both live."""
    made: dict[object, Wish] = {}
    while len(made) < count:
        index = len(made)
        active, live = index % 2 == 1, index // 2 % 2 == 1
        wide = SIZES // (50 if active else 4)
        over = chance.randrange(1, SIZES - wide) if active or chance.random() < 0.5 else 0
        some = tuple(chance.sample(ACTIONS[:3], chance.randint(1, 3)))
        wish = Wish(
            AUTHORS[index] if index < len(AUTHORS) else f"plugin-{index}",
            active=active,
            live=live,
            actions=some if chance.random() < 0.4 else (),
            denied=(chance.choice(ACTIONS),) if chance.random() < 0.3 else (),
            label=chance.choice(("", "", "content", "*")),
            file_format=chance.choice(("", "text/", "executable", "archive/zip")),
            over=over,
            under=over + wide if over else 0,
            deny_self=index < len(AUTHORS),
            colour=chance.randrange(COLOURS) if not over and chance.random() < 0.7 else None,
        )
        if any(wish.selects(facts_of(number)) for number in range(2000)):
            told = {**wish.query(), "name": "", "count": ""}
            made.setdefault(str(told), wish)
    return list(made.values())
