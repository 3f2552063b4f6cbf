"""Who looks on while messages are archived: test runs, verification, runs that end by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.archive.message import Message
from pipeline.archive.outcome import Outcome


class Attendant(Protocol):
    """Sees every message of a run."""

    def wanted(self, message: Message) -> bool:
        """Say whether a message is to be stored; one that is not is passed over and acknowledged."""

    async def settled(self, messages: Sequence[Message], outcomes: Sequence[Outcome]) -> None:
        """Look at messages whose outcome is durable, before they are acknowledged.

        What it raises ends the run; the messages come again to the next one.
        """
