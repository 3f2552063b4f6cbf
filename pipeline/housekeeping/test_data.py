"""The known test data: what `houseutils publish` sends, and what `housekeeping run -t -v` expects.

Sender and receiver make it from the same seed, so a receiver can tell whether every byte arrived. Contract:
archive section 12.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Final

import msgspec

from pipeline.archive.headers import ID as ID_HEADER
from pipeline.archive.message import Message
from pipeline.errors import Damaged
from pipeline.log.port import Headers, NewRecord

CASE_HEADER: Final = "_known_test_data"
"""Names the case a message is; its value is UTF-8."""
END: Final = b"end"
"""Payload of the last message of a test topic; a test run ends there."""
_SEED: Final = 20230201
_BIG_BLOB_BYTES: Final = 750_000
_ID_BYTES: Final = 16


class Case(msgspec.Struct, frozen=True):
    """One message: its name, payload, own headers in order, and the label of its format."""

    name: str
    payload: bytes
    headers: Headers = ()
    label: str = "blob"

    def record(self, topic: str) -> NewRecord:
        """Make the message to send: own headers first, then those a client of Hopskotch adds."""
        added: Headers = (
            (CASE_HEADER, self.name.encode()),
            (ID_HEADER, uuid.uuid4().bytes),
            ("_format", self.label.encode()),
        )
        return NewRecord(topic, None, self.payload, self.headers + added)


@cache
def cases() -> tuple[Case, ...]:
    """Make the cases in the order they are sent, the end marker last."""
    seeded = random.Random(_SEED)  # noqa: S311 - both sides must make the same bytes
    return (
        Case("empty message", b""),
        Case("empty list", b'"[]"', label="json"),
        Case("empty dict", b'"{}"', label="json"),
        Case("Big Blob", seeded.randbytes(_BIG_BLOB_BYTES), (("payload_size", b"alot"),)),
        Case("many headers", b"many headers", (("dog", b"fido"), ("cat", b"fifi"))),
        Case("repeated keys", b"repeated keys", (("key", b"v1"), ("key", b"v3"), ("key", b"v3"))),
        Case("None Valued Key", b"None Valued Key", (("none", None),)),
        Case("Binary Valued Key", b"Binary Valued Key", (("empty", b""),)),
        Case(
            "Extra invalid _ids",
            b"Extra invalid _ids",
            ((ID_HEADER, None), (ID_HEADER, b"text"), (ID_HEADER, b"")),
        ),
        Case(
            "Extra valid _ids",
            b"Extra valid _ids",
            tuple((ID_HEADER, seeded.randbytes(_ID_BYTES)) for _ in range(3)),
        ),
        Case("end", END),
    )


def case_names(message: Message) -> Iterator[str]:
    """Yield the cases a message says it is; none for any other message."""
    for name, value in message.headers or ():
        if name == CASE_HEADER and value is not None:
            yield value.decode(errors="replace")


def check(message: Message) -> None:
    """Return when a message is what was sent as its case, or is no case at all.

    Raises:
        Damaged: It says it is a case and differs; the error names the case and the field.
    """
    known = {case.name: case for case in cases()}
    for name in case_names(message):
        case = known.get(name)
        if case is None:
            raise _differs(message, name, "case", "nothing of that name is sent")
        if message.payload != case.payload:
            raise _differs(message, name, "payload", f"{len(message.payload)} bytes, not those sent")
        missing = Counter(case.headers) - Counter(message.headers or ())
        for header, _ in missing:
            raise _differs(message, name, f"header {header}", "its sent value is missing")


def _differs(message: Message, name: str, field: str, why: str) -> Damaged:
    place = f"{message.topic}[{message.partition}] at {message.offset}"
    return Damaged(f"compare the test message {name!r} of {place}, {field}", why)
