"""Hashes, size and entropy of a file, each byte handed once to all of them.

`hash_bytes` takes a whole small file, `hash_file` an open one of any size with flat memory. Both give the
same values for the same bytes. Contract: dispatcher section 17 (md5 to sha512, ssdeep, tlsh, size).
"""

from __future__ import annotations

import hashlib
import math
import os
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pydeep
import tlsh

from pipeline import limits

SSDEEP_MIN_BYTES = 4096
"""Below this ssdeep says too little; the contract leaves it out."""
TLSH_MIN_BYTES = 51
"""The fewest bytes TLSH accepts."""
_BYTE_VALUES = 256


class Hashes(NamedTuple):
    """What the bytes alone say about a file; hex digests are lower-case."""

    size_bytes: int
    md5: str
    sha1: str
    sha256: str
    sha512: str
    ssdeep: str
    """Empty below `SSDEEP_MIN_BYTES`."""
    tlsh: str
    """``T1`` and 70 hex digits; empty below `TLSH_MIN_BYTES`, above `limits.TLSH_MAX_BYTES`, or when the
    bytes vary too little."""
    entropy: float
    """Shannon entropy in bits per byte, 0 to 8, over the whole file."""


class Hasher:
    """Takes a file piece by piece; everything but ssdeep, which reads by itself."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._digests = (hashlib.md5(), hashlib.sha1(), hashlib.sha256(), hashlib.sha512())  # noqa: S324
        self._tlsh = tlsh.Tlsh()
        self._counts = np.zeros(_BYTE_VALUES, np.int64)

    def update(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self.size_bytes += len(chunk)
        for digest in self._digests:
            digest.update(chunk)
        if self.size_bytes <= limits.TLSH_MAX_BYTES:
            self._update_tlsh(chunk)
        self._counts += np.bincount(np.frombuffer(chunk, np.uint8), minlength=_BYTE_VALUES)

    def finish(self, ssdeep: str) -> Hashes:
        """Return everything, with the ssdeep digest that was made elsewhere."""
        md5, sha1, sha256, sha512 = (digest.hexdigest() for digest in self._digests)
        entropy = _entropy(self._counts, self.size_bytes)
        return Hashes(self.size_bytes, md5, sha1, sha256, sha512, ssdeep, self._tlsh_text(), entropy)

    def _update_tlsh(self, chunk: bytes) -> None:
        try:
            self._tlsh.update(chunk)
        except TypeError as error:
            # Bytes are what it wants; its binding says so too when it finds no memory for its copy of them.
            raise MemoryError from error

    def _tlsh_text(self) -> str:
        if not TLSH_MIN_BYTES <= self.size_bytes <= limits.TLSH_MAX_BYTES:
            return ""
        self._tlsh.final()
        # Not valid is the library's way of saying that the bytes vary too little.
        return "T1" + str(self._tlsh.hexdigest()).lower() if self._tlsh.valid else ""


def hash_bytes(data: bytes) -> Hashes:
    """Hash a whole file that is in memory."""
    hasher = Hasher()
    hasher.update(data)
    return hasher.finish(_text(pydeep.hash_buf(data)) if len(data) >= SSDEEP_MIN_BYTES else "")


def hash_file(file: BinaryIO) -> Hashes:
    """Hash an open file from its start, `limits.CHUNK_BYTES` at a time.

    ssdeep opens the same file a second time through its descriptor, because its block size depends on the
    size it finds and the library offers no other way.

    Raises:
        OSError: The file cannot be read.
    """
    hasher = Hasher()
    file.seek(0)
    while chunk := file.read(limits.CHUNK_BYTES):
        hasher.update(chunk)
    ssdeep = ""
    if hasher.size_bytes >= SSDEEP_MIN_BYTES:
        ssdeep = _text(pydeep.hash_file(f"/proc/{os.getpid()}/fd/{file.fileno()}"))
    return hasher.finish(ssdeep)


def _entropy(counts: np.ndarray[Any, np.dtype[np.int64]], total: int) -> float:
    if not total:
        return 0.0
    present = counts[counts > 0]
    bits = math.log2(total) - float(present @ np.log2(present)) / total
    return max(0.0, bits)


def _text(digest: str | bytes) -> str:
    return digest.decode("ascii") if isinstance(digest, bytes) else digest
