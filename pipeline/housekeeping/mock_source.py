"""The mock source: eight messages in four pairs; an archive keeps four (archive contract, section 15.1)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Final

from pipeline.archive.headers import ID as ID_HEADER
from pipeline.archive.message import Message

TOPIC: Final = "mock.topic"
_TEN_DAYS_MS: Final = 10 * 24 * 3600 * 1000
_PAYLOAD_BYTES: Final = 64


def messages(now_ms: int) -> Iterator[Message]:
    """Yield each message twice: of now and of ten days ago, with an `_id` of its sender and without.

    They never stood in a log, so they have no partition and no offset; the two of a pair are equal.

    Args:
        now_ms: The present time in ms.
    """
    for with_uuid in (True, False):
        for timestamp_ms in (now_ms, now_ms - _TEN_DAYS_MS):
            message = Message(
                topic=TOPIC,
                partition=None,
                offset=None,
                timestamp_ms=timestamp_ms,
                key=None,
                value=os.urandom(_PAYLOAD_BYTES),
                headers=((ID_HEADER, uuid.uuid4().bytes),) if with_uuid else None,
            )
            yield message
            yield message
