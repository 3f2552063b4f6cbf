"""The file format: one name out of a closed list, by our own rules.

The rules are data, `conf/formats/formats.toml` and `text_*.yar`; this module applies them in the contract's
order and never fails because of what is in a file: what cannot be told is ``unknown``, and so is a name
that is not in the list. Contract: dispatcher section 17.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import resources
from typing import Any, Literal, NamedTuple

from pipeline import limits
from pipeline.errors import SettingError
from pipeline.identify.magic import Seen
from pipeline.identify.refiners import REFINERS, Refiner
from pipeline.identify.subject import Subject
from pipeline.identify.text_rules import TextRules

UNKNOWN = "unknown"
TEXT = "text/plain"
_VAGUE = (UNKNOWN, TEXT)
_STRONG_POINTS = 15
_HITS_COUNTED = 100


class Format(NamedTuple):
    """A format name and the extension that goes with it, empty when there is none."""

    name: str
    extension: str


class Formats:
    """The rules, compiled.

    Raises:
        SettingError: The rules are not what `formats.toml` says they are.
    """

    def __init__(self, tables: Mapping[str, Any], text_rules: Mapping[str, str]) -> None:
        self.extensions: Mapping[str, str] = tables["extensions"]
        self._rules = _Rules(tables["rules"])
        self._mimes: Mapping[str, str] = tables["mime"]
        self._indicators = [_Indicator(table) for table in tables["indicators"]]
        self._text_rules = TextRules(text_rules)
        # Not a method of this object: the compiled rules must end in the thread that made them, which the
        # garbage collector would not see to.
        text = Refiner("text", _VAGUE, partial(_refine_text, self._text_rules), always=True)
        self._refiners = (*REFINERS, text)
        self._check_names()

    def identify(self, subject: Subject, seen: Seen) -> Format:
        """Name the format of a file that is not empty."""
        name = self._by_magic(seen)
        if name in _VAGUE:
            name = self._by_indicators(subject, name)
        name = self._refine(subject, seen, name)
        if name not in self.extensions:
            name = UNKNOWN
        return Format(name, self.extensions[name])

    def _by_magic(self, seen: Seen) -> str:
        best = self._by_lines(seen.descriptions[:1], [seen.mime])
        if best not in _VAGUE or len(seen.descriptions) < 2:  # noqa: PLR2004 - there is a second match
            return best
        other = self._by_lines(seen.descriptions[1:], seen.other_mimes())
        return best if other in _VAGUE else other

    def _by_lines(self, descriptions: Sequence[str], mimes: Sequence[str]) -> str:
        name = self._rules.first(descriptions, mimes)
        if name in _VAGUE:
            trusted = (self._mimes[mime.lower()] for mime in mimes if mime.lower() in self._mimes)
            name = next(trusted, name)
        return name

    def _by_indicators(self, subject: Subject, name: str) -> str:
        candidates = [one for one in self._indicators if name in one.triggers]
        if not candidates:
            return name
        block = subject.read(0, limits.FORMAT_BLOCK_BYTES)
        binary = b"\0" in block
        found = ((one.points(block), one.format) for one in candidates if not (binary and one.text_only))
        points, best = max(found, key=lambda pair: pair[0], default=(0, name))
        return best if points >= _STRONG_POINTS else name

    def _refine(self, subject: Subject, seen: Seen, name: str) -> str:
        ran = False
        for refiner in self._refiners:
            if name in refiner.triggers and (refiner.always or not ran):
                ran = True
                name = _guarded(refiner, subject, seen, name)
        return name

    def _check_names(self) -> None:
        used = {*self._rules.names, *self._mimes.values(), *self._text_rules.names}
        used.update(one.format for one in self._indicators)
        if strange := used - set(self.extensions):
            raise SettingError("read the file formats", f"not in the list of extensions: {sorted(strange)}")


def _refine_text(rules: TextRules, subject: Subject, seen: Seen, name: str) -> str:
    block = subject.read(0, limits.FORMAT_BLOCK_BYTES)
    return rules.best(block, mime=seen.mime, magic=seen.descriptions, current=name)


def shipped_formats() -> Formats:
    """Compile the rules that come with Headrace."""
    folder = resources.files("conf") / "formats"
    tables = tomllib.loads((folder / "formats.toml").read_text("utf-8"))
    files = sorted(
        (each for each in folder.iterdir() if each.name.endswith(".yar")), key=lambda each: each.name
    )
    return Formats(tables, {each.name: each.read_text("utf-8") for each in files})


class _Rules:
    """The ordered rules as two large patterns, one for descriptions and one for MIME types.

    Rule n is group n of each; alternatives are tried in order, so the group that matched is the first rule
    that would have.
    """

    def __init__(self, tables: Sequence[Mapping[str, str]]) -> None:
        self.names = [table["format"] for table in tables]
        self._magic, self._magic_rules = _alternatives(tables, "magic")
        self._mime, self._mime_rules = _alternatives(tables, "mime")

    def first(self, descriptions: Sequence[str], mimes: Sequence[str]) -> str:
        hits = [
            self._magic_rules[found.lastindex or 0]
            for line in descriptions
            if (found := self._magic.match(line))
        ]
        hits += [
            self._mime_rules[found.lastindex or 0] for mime in mimes if (found := self._mime.match(mime))
        ]
        return self.names[min(hits)] if hits else UNKNOWN


def _alternatives(
    tables: Sequence[Mapping[str, str]], key: Literal["magic", "mime"]
) -> tuple[re.Pattern[str], list[int]]:
    """Return one pattern of all rules that have `key`, and which rule each group belongs to."""
    rules = [number for number, table in enumerate(tables) if key in table]
    pattern = re.compile("|".join(f"({tables[number][key]})" for number in rules), re.IGNORECASE)
    if pattern.groups != len(rules):
        raise SettingError(f"read the {key} rules of the file formats", "a pattern has a group of its own")
    return pattern, [0, *rules]


class _Indicator:
    """Patterns whose hits in the first block are counted."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.format: str = table["format"]
        self.triggers: tuple[str, ...] = tuple(table["from"])
        self.text_only: bool = table["text"]
        self._strong = [_bytes_pattern(text) for text in table["strong"]]
        self._weak = [_bytes_pattern(text) for text in table["weak"]]

    def points(self, block: bytes) -> int:
        strong = sum(_hits(pattern, block) for pattern in self._strong)
        weak = sum(_hits(pattern, block) for pattern in self._weak)
        return strong * _STRONG_POINTS + weak


def _bytes_pattern(text: str) -> re.Pattern[bytes]:
    return re.compile(text.encode("latin-1"), re.IGNORECASE | re.MULTILINE)


def _hits(pattern: re.Pattern[bytes], block: bytes) -> int:
    if pattern.pattern.startswith(rb"\A"):
        # A search would try every position all the same.
        return 1 if pattern.match(block) else 0
    found = pattern.finditer(block)
    return sum(1 for _ in zip(range(_HITS_COUNTED), found, strict=False))


def _guarded(refiner: Refiner, subject: Subject, seen: Seen, name: str) -> str:
    try:
        return refiner.refine(subject, seen, name)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever a hostile file trips over in a refiner, its coarser name stands
        return name
