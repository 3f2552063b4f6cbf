"""Compare the bytes of an object with what its rows say of them, while they arrive.

Nothing is held but the beginning of a document, where its payload is found; so the size of an object
does not matter. Contract: archive section 12.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence

from pipeline.archive import bson
from pipeline.archive.audit.rows import AuditRow
from pipeline.errors import Damaged

_HEAD_BYTES = 4096
"""Enough of a document to find its payload, which everybody wrote first."""


class ObjectCheck:
    """Takes the bytes of an object, or of its documents, and says afterwards which are damaged.

    Args:
        rows: Say where the documents lie.
    """

    def __init__(self, rows: Sequence[AuditRow]) -> None:
        self._checks = [DocumentCheck(row) for row in sorted(rows, key=lambda row: (row.first, row.end))]
        self._begun = 0
        self.crc32 = 0
        """CRC-32 of everything fed."""

    def feed(self, chunk: bytes, first: int) -> None:
        """Take the next bytes, which begin at that offset of the object."""
        self.crc32 = zlib.crc32(chunk, self.crc32)
        end = first + len(chunk)
        while self._begun < len(self._checks) and self._checks[self._begun].row.end <= first:
            self._begun += 1
        view = memoryview(chunk)
        for check in self._checks[self._begun :]:
            if check.row.first >= end:
                break
            check.feed(view[max(check.row.first - first, 0) : max(check.row.end - first, 0)])

    def verdicts(self) -> list[tuple[AuditRow, str]]:
        """Say for each row what is wrong with its document; nothing when it is as it was stored."""
        return [(check.row, check.verdict()) for check in self._checks]


class DocumentCheck:
    """Takes the bytes of one document and compares them with its row.

    Args:
        row: The row.
    """

    def __init__(self, row: AuditRow) -> None:
        self.row = row
        self._size = 0
        self._crc32 = 0
        self._payload_crc32 = 0
        self._payload_sha256 = hashlib.sha256()
        self._held: list[bytes] = []
        self._span: tuple[int, int] | None = None

    def feed(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._crc32 = zlib.crc32(data, self._crc32)
        before, self._size = self._size, self._size + len(data)
        if self._span is not None:
            self._add(data, before, self._span)
            return
        self._held.append(bytes(data))
        # Looked for once here; a payload that does not come first is found at the end.
        if before < _HEAD_BYTES <= self._size:
            self._find_payload()

    def _find_payload(self) -> None:
        head = b"".join(self._held)
        try:
            start, length = bson.payload_span(head)
        except Damaged:
            return
        self._span = start, start + length
        self._held = []
        self._add(memoryview(head), 0, self._span)

    def _add(self, data: memoryview, offset: int, span: tuple[int, int]) -> None:
        """Add what of the bytes at an offset belongs to the payload, which is that span."""
        start, end = span
        part = data[max(start - offset, 0) : max(end - offset, 0)]
        self._payload_crc32 = zlib.crc32(part, self._payload_crc32)
        self._payload_sha256.update(part)

    def verdict(self) -> str:
        """Say what is wrong, nothing when the document is as it was stored."""
        row = self.row
        if self._size != row.size:
            return f"it ends after {self._size} bytes, its row says {row.size}"
        if self._span is None:
            self._find_payload()
        payload = self._payload_verdict()
        if self._crc32 != row.crc32:
            state = f"its payload: {payload}" if payload else "its payload is as it was"
            return f"CRC-32 {self._crc32}, its row says {row.crc32}; {state}"
        return f"its payload: {payload}" if payload else ""

    def _payload_verdict(self) -> str:
        row = self.row
        if self._span is None or self._span[1] > self._size:
            return "not found"
        if self._payload_crc32 != row.message_crc32:
            return f"CRC-32 {self._payload_crc32}, its row says {row.message_crc32}"
        if row.sha256 is not None and self._payload_sha256.digest() != row.sha256:
            return "its SHA-256 is not the one in its row"
        return ""
