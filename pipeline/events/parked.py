"""ParkedEntry: a record put aside with its reason, on topic ``system.parked``.

Ours, not part of the contract. The topic is compacted by the entry's id, so the last word about an entry
stays. The record's value is in the object store; everything else needed to replay it is here.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from pipeline.errors import EventCorrupt
from pipeline.log.port import Headers

ParkedState = Literal["parked", "replayed", "dropped"]

_ID_LENGTH = 32


class ParkedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A record an agent could not process."""

    id: str
    """`entry_id` of the four fields that follow."""
    agent: str
    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    headers: Headers = ()
    raw_names: tuple[bytes, ...] = ()
    """Names of the headers, in order, where one of them is not UTF-8; `headers` can only show those."""
    reason: str
    """A short name of the kind of trouble."""
    error: str
    """The whole sentence."""
    object_key: str
    """Where the raw value is kept."""
    size_bytes: int
    parked_at: float
    """Unix seconds."""
    state: ParkedState = "parked"

    def encode(self) -> bytes:
        """Return the value of its record; key and header values are base64 in it."""
        return msgspec.json.encode(self)


_DECODER = msgspec.json.Decoder(ParkedEntry)


def decode_parked(value: bytes) -> ParkedEntry:
    """Read the value of a record of the parked topic.

    Raises:
        EventCorrupt: It is not one.
    """
    try:
        return _DECODER.decode(value)
    except (ValueError, RecursionError) as error:
        raise EventCorrupt("read a parked entry", str(error)) from error


def entry_id(agent: str, topic: str, partition: int, offset: int) -> str:
    """Name a parked record: the same record parked twice by the same agent is one entry.

    32 hexadecimal digits, so that it fits into paths and keys whatever the names contain.
    """
    place = f"{agent}\0{topic}\0{partition}\0{offset}"
    return hashlib.sha256(place.encode()).hexdigest()[:_ID_LENGTH]
