"""Streams: bytes under source, label and hash, as the hub and its agents move them."""

from __future__ import annotations

from pipeline.objects.keys import stream_key
from pipeline.objects.port import ObjectStore


async def copy_stream(objects: ObjectStore, label: str, sha256: str, *, source: str, target: str) -> None:
    """Copy a stream from one source to another, under the same label and hash; harmless to repeat.

    Raises:
        BadInput: A part of its place is not allowed.
        NotFound: The first source does not have it.
        Unavailable: The store does not answer.
    """
    await objects.copy(stream_key(source, label, sha256), stream_key(target, label, sha256))
