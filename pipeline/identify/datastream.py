"""A stored stream as events describe it, from what identification found out."""

from __future__ import annotations

from msgspec.structs import replace

from pipeline.events.names import CONTENT
from pipeline.events.parts import Datastream
from pipeline.identify.result import IDENTIFY_VERSION, Identified
from pipeline.objects.hashing import Digest


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


def stored_datastream(found: Identified, digest: Digest) -> Datastream:
    """Describe content with the hashes it was stored under.

    A file that cost its parser the process may have no others.
    """
    hashes = {name: getattr(digest, name) for name in ("md5", "sha1", "sha256", "sha512")}
    return replace(datastream(found), size=digest.size_bytes, **hashes)
