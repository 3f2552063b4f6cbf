"""What identification says about one file, as it travels from the parser process.

`pipeline.identify.enrichment` and `.datastream` turn it into events and parts of them.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

IDENTIFY_VERSION = 2
"""Version of the identification contract (dispatcher section 17)."""

Meta: TypeAlias = str | int | float | bool


class RuleHit(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One YARA rule that matched."""

    rule: str
    file: str
    """The rule file, as a path below the rules folder; also the rule's namespace."""
    tags: tuple[str, ...] = ()
    meta: dict[str, Meta] = {}


class Scan(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the user's YARA rules said."""

    rules_version: str = ""
    """Digest of the rule files it was scanned with; empty when it was not scanned."""
    hits: tuple[RuleHit, ...] = ()
    hits_left_out: int = 0
    """Hits beyond `limits.YARA_HITS`."""
    scanned_bytes: int = 0
    truncated: bool = False
    """The file goes on behind `scanned_bytes`."""
    problem: str = ""
    """Why there are no hits to go by: out of time, or an error of the scanner."""


class Problem(msgspec.Struct, frozen=True, gc=False):
    """What happened to the parser process on this file; only the hashes are known then."""

    kind: str
    """`ParserTimeout`, `ParserMemory` or `ParserCrash`."""
    text: str
    """The whole sentence."""


class Identified(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Everything known about a file from its bytes; hex digests are lower-case.

    With a `problem` the fields from `mime` on are empty; the hashes are there unless the file could not
    even be hashed, in which case `sha256` is empty too.
    """

    size_bytes: int = 0
    md5: str = ""
    sha1: str = ""
    sha256: str = ""
    sha512: str = ""
    ssdeep: str = ""
    tlsh: str = ""
    entropy: float = 0.0
    """Bits per byte, 0 to 8."""
    mime: str = ""
    magic: str = ""
    file_format: str = ""
    file_extension: str = ""
    scan: Scan = Scan()
    notes: tuple[str, ...] = ()
    """Steps that gave up without harm to the others, each with its reason."""
    problem: Problem | None = None


class Quarantined(msgspec.Struct, frozen=True, gc=False):
    """A rule file that is left out, and why; the other files are in use."""

    file: str
    line: int
    """Line of the first error; 0 when it has none."""
    message: str


class RuleReport(msgspec.Struct, frozen=True, gc=False):
    """The rule set a parser process works with."""

    version: str = ""
    rules: int = 0
    quarantined: tuple[Quarantined, ...] = ()
