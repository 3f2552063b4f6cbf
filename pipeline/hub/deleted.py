"""Which binary events were deleted, as every process that publishes or hands out knows it.

The delete topic is followed from its start (dispatcher contract, sections 9 step 6 and 12 step 5).
"""

from __future__ import annotations

import structlog

from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import BadInput, EventError, TooLarge
from pipeline.events.binary import BinaryEvent
from pipeline.events.codec import decode_stored
from pipeline.events.delete import DeleteEvent
from pipeline.events.deletions import Deletions
from pipeline.events.topic_names import system_topic
from pipeline.log.follower import Follower
from pipeline.log.port import Log, Record

_log = structlog.get_logger(__name__)


class Deleted(Follower):
    """All deletions, kept up to date; ask `cover`.

    Args:
        log: An open log.
        prefix: Whose delete topic.
        clock: Spaces the tries when the log does not answer.
    """

    def __init__(self, log: Log, prefix: str, clock: Clock) -> None:
        super().__init__(log, system_topic(prefix, "delete"), clock)
        self._deletions = Deletions()
        self.changes = 0
        """How often something was deleted so far."""

    def cover(self, event: BinaryEvent) -> bool:
        """Say whether an event is deleted. Its key and tracking fields must be set.

        Raises:
            HeadraceError: The deletions are not known: the log is away, or there are too many.
        """
        self.check()
        return self._deletions.cover(event)

    def cover_stored(self, value: bytes) -> bool:
        """Say whether a stored binary event is deleted; what cannot be read is not. Raises as `cover`."""
        try:
            event = decode_stored("binary", value)
        except EventError:
            return False
        return event is not None and self.cover(event)

    def take(self, record: Record) -> None:
        """Take in one delete event; what cannot be read deletes nothing.

        Raises:
            TooLarge: There are more than are held.
        """
        try:
            event = decode_stored("delete", record.value)
            if isinstance(event, DeleteEvent):
                self._deletions.add(event)
                self.changes += 1
        except BadInput as error:
            place = f"{record.topic}[{record.partition}] at {record.offset}"
            _log.warning("a delete event cannot be read", place=place, reason=str(error))
        if len(self._deletions) > limits.DELETIONS_MAX:
            raise TooLarge("hold what was deleted", f"there are more than {limits.DELETIONS_MAX} deletions")

    def forget(self) -> None:
        """Let go of everything."""
        self._deletions = Deletions()
