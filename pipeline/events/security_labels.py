"""The security labels an installation is configured with. Contract: metastore sections 12.1, 12.3, 20.3."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.errors import SettingError


class Classification(msgspec.Struct, frozen=True):
    """One of these stands in every marking."""

    name: str
    priority: int = 0


class Caveat(msgspec.Struct, frozen=True):
    """Narrows who may read; allowed with classifications of these priorities, else dropped."""

    name: str
    min_priority: int = 0
    max_priority: int = 1_000_000


class Release(msgspec.Struct, frozen=True):
    """A group that may read; its name starts with the prefix."""

    name: str


class Tlp(msgspec.Struct, frozen=True):
    """A traffic light; restricts who may read only when it is enforced."""

    name: str
    enforce_security: bool = False


class ClassificationGroup(msgspec.Struct, frozen=True):
    """From the least to the most restrictive."""

    options: tuple[Classification, ...] = ()


class CaveatGroup(msgspec.Struct, frozen=True):
    """In the order they are written in."""

    options: tuple[Caveat, ...] = ()


class ReleaseGroup(msgspec.Struct, frozen=True):
    """Groups, of which the origin is among all that are named."""

    options: tuple[Release, ...] = ()
    prefix: str = "REL:"
    origin: str = ""
    origin_alt_name: str = ""
    """Read as the origin."""


class TlpGroup(msgspec.Struct, frozen=True):
    """From the least to the most restrictive."""

    options: tuple[Tlp, ...] = ()


class Labels(msgspec.Struct, frozen=True):
    """All labels; made by `labels_of`."""

    classification: ClassificationGroup = ClassificationGroup()
    caveat: CaveatGroup = CaveatGroup()
    releasability: ReleaseGroup = ReleaseGroup()
    tlp: TlpGroup = TlpGroup()

    @property
    def names(self) -> list[str]:
        """Every label, in rank order."""
        groups = (self.classification, self.caveat, self.releasability, self.tlp)
        return [option.name for group in groups for option in group.options]

    def check(self) -> None:
        """Refuse labels that could not be told apart or never be read.

        Raises:
            SettingError: Which, and why.
        """
        names, release = self.names, self.releasability
        for name in names:
            if not name or name != " ".join(name.upper().split()) or re.search(r"[/\\]", name):
                raise _wrong(name, "names are upper-case words without / and \\")
        _alone(names, "is there twice")
        _alone([role(name) for name in names], "is the role of two labels")
        for option in release.options:
            short = option.name.removeprefix(release.prefix)
            if not release.prefix or short in {"", option.name} or re.search(r"[\s,]", short):
                raise _wrong(option.name, f"starts with {release.prefix!r} and is one word without commas")
        if release.origin and release.origin not in {option.name for option in release.options}:
            raise _wrong(release.origin, "the origin is one of the releasabilities")


def labels_of(values: Mapping[str, Any]) -> Labels:
    """Read labels as settings have them; names are taken in upper case.

    Raises:
        SettingError: They are not of this form, or contradict each other.
    """
    try:
        labels = msgspec.convert(_upper(values), Labels, strict=False)
    except msgspec.ValidationError as error:
        raise SettingError("read the security labels", str(error)) from None
    labels.check()
    return labels


def role(label: str) -> str:
    """Name the role that a label is for those who may read."""
    return "s-" + re.sub(r"[^A-Za-z0-9_-]", "-", label.lower())


def _upper(value: Any) -> Any:
    match value:
        case str():
            return " ".join(value.upper().split())
        case Mapping():
            return {name: _upper(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_upper(inner) for inner in value]
    return value


def _alone(names: list[str], why: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise _wrong(name, why)


def _wrong(name: str, why: str) -> SettingError:
    return SettingError(f"security label {name!r}", why)
