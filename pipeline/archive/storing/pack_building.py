"""A pack in the making: the documents of drafts, one after another, with the rows that tell of them."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from pipeline.archive.outcome import Outcome
from pipeline.archive.rows import Location, Row
from pipeline.archive.storing.dedupe import Fresh
from pipeline.archive.storing.draft import Draft, encode, row_of
from pipeline.archive.storing.pack_manifests import Manifest, Written
from pipeline.errors import BadInput


class Pack(NamedTuple):
    """A pack ready to be written."""

    data: bytes
    rows: list[Row]
    written: Written


class PackBuilder:
    """Puts documents one behind the other.

    Args:
        manifest: Says where the pack will lie, and when it was begun.
        object_max_bytes: Largest document.
    """

    def __init__(self, manifest: Manifest, object_max_bytes: int) -> None:
        self._manifest = manifest
        self._object_max_bytes = object_max_bytes
        self._pieces: list[bytes] = []
        self._rows: list[Row] = []
        self._size_bytes = 0
        self.refused = False
        """Whether a draft can never be stored: it has its outcome then, and the pack is of no use."""

    def add(self, draft: Draft, choice: Fresh) -> None:
        """Add the document of a draft under the uuid chosen."""
        manifest = self._manifest
        draft.ingest_time_ms = manifest.ingest_time
        try:
            told, encoded = encode(draft, choice, self._object_max_bytes)
        except BadInput as error:
            draft.outcome = Outcome("refused", str(error))
            self.refused = True
            return
        size_bytes = encoded.size_bytes
        where = Location(manifest.key, manifest.bucket, size_bytes, encoded.crc32(), self._size_bytes)
        self._rows.append(row_of(draft, choice, told, where))
        self._pieces += encoded
        self._size_bytes += size_bytes

    def built(self) -> Pack:
        """Give the whole."""
        data = b"".join(self._pieces)
        return Pack(data, self._rows, Written(len(self._rows), len(data), zlib.crc32(data)))
