"""Security markings: the labels an installation knows, and who may read what carries which of them.

A marking is a text such as ``MEDIUM MOD1 REL:APPLE,BEE``: classification, caveats, releasabilities, TLP.
Exclusive labels (classification, caveats) are all needed to read, of inclusive ones (releasabilities) one
is, and TLPs restrict only where the settings say so. Without labels there is no marking that could be read,
so nothing that carries one is readable. Contract: metastore section 12.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from pipeline import limits
from pipeline.errors import BadInput
from pipeline.events.security_labels import Labels, role

ANYONE: Final = "s-any"
"""The role that everybody has."""


class Marking(msgspec.Struct, frozen=True):
    """The labels of a marking, sorted by what they mean for a reader."""

    exclusive: frozenset[str]
    """All are needed."""
    inclusive: frozenset[str] = frozenset()
    """One is needed, where there are any."""
    markings: frozenset[str] = frozenset()


class Security:
    """Reads, writes, combines and compares markings.

    Args:
        labels: What the installation knows.
        releasable_from: Classifications of this priority or more take releasabilities instead of a TLP.
    """

    def __init__(self, labels: Labels, *, releasable_from: int) -> None:
        self._releasable_from = releasable_from
        self._classifications = {option.name: option for option in labels.classification.options}
        self._caveats = {option.name: option for option in labels.caveat.options}
        self._tlps = {option.name: option for option in labels.tlp.options}
        self._releasability = labels.releasability
        self._order = {name: place for place, name in enumerate(labels.names)}
        self._words = [_words(group) for group in (self._classifications, self._caveats, self._tlps)]
        self._can_access = lru_cache(maxsize=limits.SECURITY_PAIRS_MAX)(self._compare)

    def parse(self, text: str) -> Marking:
        """Read a marking as it is written.

        Raises:
            BadInput: It has something that is no label, or no classification.
        """
        if len(text) > limits.SECURITY_MAX_CHARACTERS:
            raise _wrong(text, f"it is longer than {limits.SECURITY_MAX_CHARACTERS} characters")
        rest = " ".join(re.sub(r"[/\\]", " ", text.upper()).split())
        found: list[frozenset[str]] = []
        for words in self._words:
            found.append(frozenset(words.findall(rest)))
            rest = " ".join(words.sub(" ", rest).split())
        classifications, caveats, tlps = found
        if not classifications:
            raise _wrong(text, "it has no classification")
        groups = [self._group(text, group) for group in rest.split()]
        return Marking(classifications | caveats, frozenset().union(*groups), tlps)

    def render(self, marking: Marking) -> str:
        """Write a marking: classification, caveats, releasabilities, TLP."""
        words = self.ranked(marking.exclusive)
        if marking.inclusive:
            prefix = self._releasability.prefix
            names = sorted(name.removeprefix(prefix) for name in marking.inclusive)
            words.append(prefix + ",".join(names))
        return " ".join([*words, *self.ranked(marking.markings)])

    def normalise(self, text: str) -> str:
        """Write a marking in the one form it has.

        Raises:
            BadInput: It cannot be read, or its labels do not go together.
        """
        return self.render(self._settled(self.parse(text), text))

    def combine(self, texts: Iterable[str]) -> str:
        """Give the marking of what is made of parts that carry these: whoever reads it may read them all.

        Raises:
            BadInput: There are none, one cannot be read, or nobody could read all of them.
        """
        parts = [(text, self.parse(text)) for text in texts]
        shown = " + ".join(text for text, _ in parts)
        if not parts:
            raise _wrong(shown, "there is nothing to combine")
        released = [part.inclusive for _, part in parts if part.inclusive]
        common = frozenset.intersection(*released) if released else frozenset()
        if released and not common:
            raise _wrong(shown, "they are released to nobody in common")
        exclusive = frozenset[str]().union(*(part.exclusive for _, part in parts))
        markings = frozenset[str]().union(*(part.markings for _, part in parts))
        return self.render(self._settled(Marking(exclusive, common, markings), shown))

    def ranked(self, labels: Iterable[str]) -> list[str]:
        """Sort labels: classifications, caveats, releasabilities, TLPs, each in the order of the settings.

        They have to be known ones, as markings that were read have them.
        """
        return sorted(labels, key=self._order.__getitem__)

    def can_access(self, subject: str, thing: str) -> bool:
        """Say whether who holds one marking may read what carries the other.

        Whoever holds a classification holds those before it. False when either cannot be read, also when
        they are equal. Answers are remembered for some pairs.
        """
        if max(len(subject), len(thing)) > limits.SECURITY_MAX_CHARACTERS:
            return False
        return self._can_access(subject, thing)

    def encode(self, text: str) -> dict[str, Any]:
        """Give the roles that decide who reads a document, as documents have them.

        Raises:
            BadInput: The marking cannot be read.
        """
        marking = self._settled(self.parse(text), text)
        roles = {
            name: sorted(map(role, getattr(marking, name))) or [ANYONE]
            for name in Marking.__struct_fields__
        }
        return {**roles, "num_exclusive": len(roles["exclusive"])}

    def enforced(self, markings: Iterable[str]) -> frozenset[str]:
        """Give those TLPs that restrict who may read."""
        return frozenset(name for name in markings if self._tlps[name].enforce_security)

    def _compare(self, subject: str, thing: str) -> bool:
        try:
            held, needed = self.parse(subject), self._settled(self.parse(thing), thing)
        except BadInput:
            return False
        highest = self._order[self._highest(held)]
        implied = {name for name in self._classifications if self._order[name] <= highest}
        return (
            needed.exclusive <= held.exclusive | implied
            and (not needed.inclusive or bool(needed.inclusive & held.inclusive))
            and (not self.enforced(needed.markings) or bool(needed.markings & held.markings))
        )

    def _group(self, text: str, group: str) -> frozenset[str]:
        """Read ``REL:A,B``; the other name of the origin stands for it."""
        known = self._releasability
        if not known.prefix or not group.startswith(known.prefix):
            raise _wrong(text, f"{group!r} is no label")
        names = set()
        for short in group.removeprefix(known.prefix).split(","):
            name = known.prefix + short
            if known.origin_alt_name and known.origin_alt_name in {short, name}:
                name = known.origin
            if name not in self._order:
                raise _wrong(text, f"{name!r} is no label")
            names.add(name)
        return frozenset(names)

    def _highest(self, marking: Marking) -> str:
        return self.ranked(name for name in marking.exclusive if name in self._classifications)[-1]

    def _settled(self, marking: Marking, text: str) -> Marking:
        """Keep of the labels what may stand together.

        Raises:
            BadInput: A releasability may not stand where it does, or the origin is missing among them.
        """
        highest = self._highest(marking)
        priority = self._classifications[highest].priority
        caveats = frozenset(
            name
            for name in marking.exclusive & self._caveats.keys()
            if self._caveats[name].min_priority <= priority <= self._caveats[name].max_priority
        )
        exclusive = caveats | {highest}
        if priority < self._releasable_from:
            if marking.inclusive:
                raise _wrong(text, f"{highest} takes no releasabilities")
            return Marking(exclusive, markings=frozenset(self.ranked(marking.markings)[-1:]))
        origin = self._releasability.origin
        if marking.inclusive and origin and origin not in marking.inclusive:
            raise _wrong(text, f"what is released must be released to {origin}")
        return Marking(exclusive, marking.inclusive)


def _words(names: Iterable[str]) -> re.Pattern[str]:
    """Match any of these names as a whole, the longest first."""
    longest: Sequence[str] = sorted(names, key=len, reverse=True)
    if not longest:
        return re.compile(r"(?!)")
    return re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, longest))})(?!\S)")


def _wrong(text: str, why: str) -> BadInput:
    return BadInput(f"read the security marking {text[:200]!r}", why)
