"""All steps of identification on one file, in the order in which their results must survive.

Runs inside the parser process. The hashes come first; libmagic, formats and rules follow, each of which may
give up with a note without taking the others along. A `MemoryError` is never swallowed: the process that
ran out is to be replaced. Contract: dispatcher section 17.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.identify.formats import Formats
from pipeline.identify.hashes import Hashes, hash_bytes, hash_file
from pipeline.identify.magic import EMPTY_DESCRIPTION, EMPTY_MIME, Magic, MagicError, Seen, published
from pipeline.identify.result import Identified, Scan
from pipeline.identify.subject import Subject
from pipeline.identify.yara import UserRules

_UNKNOWN_MIME = "application/octet-stream"


class Identifier:
    """The compiled rules and the libmagic cookie of one process; not safe across threads."""

    def __init__(self, magic: Magic, formats: Formats, rules: UserRules) -> None:
        self._magic = magic
        self._formats = formats
        self._rules = rules

    def identify(self, subject: Subject, *, parse: bool = True) -> Identified:
        """Say everything about an open file; only its hashes unless `parse`.

        Raises:
            OSError: The file cannot be read.
            MemoryError: It needs more memory than this process may have.
        """
        hashes = hash_bytes(subject.whole) if subject.whole is not None else hash_file(subject.file)
        if not parse:
            return _result(hashes)
        if not subject.size_bytes:
            return _result(hashes, EMPTY_MIME, EMPTY_DESCRIPTION, "unknown", scan=self._rules.scan(subject))
        return self._parse(subject, hashes)

    def mime_types(self, blocks: Sequence[bytes]) -> list[str]:
        """Tell the MIME type of each block; what cannot be told is ``application/octet-stream``."""
        return [self._mime_type_of(block) for block in blocks]

    def _mime_type_of(self, block: bytes) -> str:
        try:
            return published(self._magic.mime_type_of(block)) or _UNKNOWN_MIME
        except MagicError:
            return _UNKNOWN_MIME

    def _parse(self, subject: Subject, hashes: Hashes) -> Identified:
        notes: tuple[str, ...] = ()
        descriptor = subject.file.fileno()
        try:
            seen = self._ask_magic(descriptor)
        except MagicError as error:
            seen = Seen([], "", list)
            notes = (str(error),)
        found = self._formats.identify(subject, seen)
        scan = self._rules.scan(subject)
        description = seen.descriptions[0] if seen.descriptions else ""
        return _result(hashes, published(seen.mime), published(description), *found, scan=scan, notes=notes)

    def _ask_magic(self, descriptor: int) -> Seen:
        descriptions = self._magic.descriptions(descriptor)
        mime = self._magic.mime_type(descriptor)
        return Seen(descriptions, mime, lambda: self._other_mimes(descriptor))

    def _other_mimes(self, descriptor: int) -> list[str]:
        try:
            return self._magic.mime_types(descriptor)
        except MagicError:
            return []


def _result(
    hashes: Hashes,
    mime: str = "",
    magic: str = "",
    file_format: str = "",
    file_extension: str = "",
    *,
    scan: Scan | None = None,
    notes: tuple[str, ...] = (),
) -> Identified:
    return Identified(*hashes, mime, magic, file_format, file_extension, scan or Scan(), notes)
