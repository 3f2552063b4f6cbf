"""A stored stream as events describe it, from what identification found out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec.structs import replace

from pipeline.events.names import CONTENT
from pipeline.events.parts import Datastream
from pipeline.identify.result import IDENTIFY_VERSION, Identified
from pipeline.objects.hashing import Stored

Identify = Callable[[Path], Awaitable[Identified]]
"""Says what a file is: `ParserPool.identify`."""


def datastream(found: Identified, label: str = CONTENT) -> Datastream:
    """Describe the bytes stored under a label. Contract: dispatcher sections 4.1, 16.1."""
    return Datastream(
        identify_version=IDENTIFY_VERSION,
        label=label,
        size=found.size_bytes,
        sha512=found.sha512,
        sha256=found.sha256,
        sha1=found.sha1,
        md5=found.md5,
        ssdeep=found.ssdeep,
        tlsh=found.tlsh,
        mime=found.mime,
        magic=found.magic,
        file_format=found.file_format,
        file_extension=found.file_extension,
    )


async def describe(stored: Stored, identify: Identify) -> Datastream:
    """Identify content that was just stored and describe it with the hashes it was stored under.

    A file that cost its parser the process may have no others. Raises what `identify` raises.
    """
    async with stored.file() as path:
        found = datastream(await identify(path))
    return replace(found, size=stored.digest.size_bytes, **stored.digest.hashes())
