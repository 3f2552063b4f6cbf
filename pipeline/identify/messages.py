"""What the service and a parser process say to each other: msgpack messages with their length before them.

One socket each way; answers come in the order of the requests. `Frames` cuts what arrives back into
messages, however it was split on the way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from pipeline import limits
from pipeline.errors import Damaged
from pipeline.identify.result import Identified, RuleReport
from pipeline.identify.texts import Extract

EXIT_MEMORY: Final = 86
"""Exit code of a parser process that ran into its memory limit."""

_LENGTH = struct.Struct("<I")


class Setup(msgspec.Struct, frozen=True):
    """The first message to a parser process: how it is to work."""

    parent: int
    """Process id of the service."""
    rules_folder: str | None
    memory_bytes: int
    timeout_seconds: float
    yara_scan_max_bytes: int
    yara_timeout_seconds: int


class Request(msgspec.Struct, frozen=True, tag="file", array_like=True, gc=False):
    """Identify a file."""

    number: int
    path: bytes
    parse: bool
    """Whether to go on after the hashes."""


class BlocksRequest(msgspec.Struct, frozen=True, tag="blocks", array_like=True, gc=False):
    """Tell the MIME type of each block, the start of a payload."""

    number: int
    blocks: Sequence[bytes]


class TextsRequest(msgspec.Struct, frozen=True, tag="texts", array_like=True, gc=False):
    """Find the text of each payload."""

    number: int
    payloads: Sequence[tuple[str, bytes]]
    """Each after its media type."""
    max_characters: int
    """Most text of one payload."""


class Ready(msgspec.Struct, frozen=True, tag="ready", array_like=True):
    """The process is confined and its rules are compiled."""

    report: RuleReport
    not_enforced: list[str]
    """Limits this kernel does not allow, one sentence each."""


class Large(msgspec.Struct, frozen=True, tag="large", array_like=True, gc=False):
    """The file being worked on is a large one and deserves more time."""

    number: int
    size_bytes: int


class Answer(msgspec.Struct, frozen=True, tag="answer", array_like=True, gc=False):
    """What there is to say about a file."""

    number: int
    identified: Identified


class Told(msgspec.Struct, frozen=True, tag="told", array_like=True, gc=False):
    """The MIME types asked for, in order."""

    number: int
    mimes: list[str]


class Extracted(msgspec.Struct, frozen=True, tag="extracted", array_like=True, gc=False):
    """The texts asked for, in order."""

    number: int
    extracts: list[Extract]


class Refused(msgspec.Struct, frozen=True, tag="refused", array_like=True, gc=False):
    """The file could not be opened or read."""

    number: int
    kind: str
    """Name of the error class of `pipeline.errors`."""
    tried: str
    why: str


Asked: TypeAlias = Request | BlocksRequest | TextsRequest
Result: TypeAlias = Answer | Told | Extracted
Reply: TypeAlias = Ready | Large | Result | Refused

ENCODER: Final = msgspec.msgpack.Encoder()
SETUP: Final = msgspec.msgpack.Decoder(Setup)
REQUEST: Final[msgspec.msgpack.Decoder[Asked]] = msgspec.msgpack.Decoder(Asked)
REPLY: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)


def frame(message: msgspec.Struct) -> bytes:
    """Return a message as it goes over the socket."""
    payload = ENCODER.encode(message)
    return _LENGTH.pack(len(payload)) + payload


class Frames:
    """Collects bytes and cuts them into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what arrived and yield every message that is complete.

        Raises:
            Damaged: A message claims to be larger than `limits.PARSER_MESSAGE_MAX_BYTES`.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > limits.PARSER_MESSAGE_MAX_BYTES:
                raise Damaged("read a message of the parser process", f"it claims {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield message
