"""The identity of a message: the uuid it is kept under (archive contract, section 5).

A client's `_id` header of exactly 16 bytes is taken as it is. For every other message a uuid is computed
from where it stood, so that a message delivered again gets the same one and is written under the same key.
"""

from __future__ import annotations

import hashlib
import uuid

import msgspec

# A uuid.UUID in every respect, made and written ten times faster; nearly every message has one made.
from asyncpg.pgproto.pgproto import UUID

from pipeline.archive.headers import ID, Said, read
from pipeline.archive.message import Message
from pipeline.log.port import Headers

_UUID_BYTES = 16
_NAMESPACE = uuid.NAMESPACE_URL.bytes


class Identity(msgspec.Struct, frozen=True, gc=False):
    """What a message's headers say about it, and the headers it is stored with.

    `uuid` is the first valid `_id`, or made by us when `is_client_uuid` is false. `said` is what its own
    headers say. `added` names those of `headers` the sender did not send; they stand at the end.
    """

    uuid: uuid.UUID
    is_client_uuid: bool
    headers: Headers
    said: Said
    added: tuple[str, ...] = ()


def identify(message: Message, cluster: str = "") -> Identity:
    """Read the identity of a message, adding an `_id` header when it has no valid one."""
    headers, said = message.headers or (), read(message.headers)
    if said.uuid is not None:
        return Identity(said.uuid, True, headers, said)
    made = made_uuid(message, cluster)
    return Identity(made, False, (*headers, (ID, made.bytes)), said, (ID,))


def made_uuid(message: Message, cluster: str = "", attempt: int = 0) -> uuid.UUID:
    """Compute the uuid of a message that has no usable one of its own.

    It follows from cluster label, topic, partition, offset and time; a message that never stood in a log
    has topic, time and the SHA-256 of its payload instead. `attempt` counts uuids found to be taken by
    different messages: each gives another, always the same one.
    """
    label = f"{cluster}/" if cluster else ""
    if message.partition is None or message.offset is None:
        digest = hashlib.sha256(message.payload).hexdigest()
        name = f"kafka:{label}{message.topic}/{message.timestamp_ms}/{digest}"
    else:
        name = f"kafka:{label}{message.topic}/{message.partition}/{message.offset}/{message.timestamp_ms}"
    return _uuid5(f"{name}#{attempt}" if attempt else name)


def _uuid5(name: str) -> uuid.UUID:
    """Compute what `uuid.uuid5` does for a URL, as a quicker object (RFC 9562, section 5.5)."""
    whole = hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()
    digest = bytearray(whole[:_UUID_BYTES])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return UUID(bytes(digest))
