"""What stands on a topic in place of a message too large for it (archive contract, section 13).

The message itself is in the archive; whoever reads the placeholder downloads it from there.
"""

from __future__ import annotations

import json
import uuid
from typing import NamedTuple

from pipeline.archive.headers import ID
from pipeline.archive.message import TEST_HEADER

FORMAT_HEADER = "_format"
METADATA_TOPIC = "sys.metadata"
"""Where clients look for the address to upload to; the newest message counts."""
_ENDPOINT = "LargeMessageUploadEndpoint"


class Placeholder(NamedTuple):
    """Value and headers of the message that stands for another."""

    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def placeholder(endpoint: str, archived: uuid.UUID, *, test: bool = False) -> Placeholder:
    """Make the placeholder of an archived message.

    It has an identity of its own, always the same one, so that making it twice is no second message.

    Args:
        endpoint: Under which clients reach the archive, as `announcement` tells it.
        archived: The uuid the message is archived under.
        test: Whether the message is a test, which its placeholder then is too.
    """
    url = f"{endpoint.rstrip('/')}/msg/{archived}"
    headers = [(ID, uuid.uuid5(uuid.NAMESPACE_URL, url).bytes)]
    if test:
        headers.append((TEST_HEADER, b"true"))
    headers.append((FORMAT_HEADER, b"external"))
    return Placeholder(_json({"url": url}), tuple(headers))


def announcement(endpoint: str) -> bytes:
    """Make the message for `METADATA_TOPIC` that tells clients where to upload."""
    return _json({_ENDPOINT: endpoint.rstrip("/")})


def _json(members: dict[str, str]) -> bytes:
    """Write JSON just as clients write it, blanks included: the same placeholder has the same bytes."""
    return json.dumps(members).encode()
