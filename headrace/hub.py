"""What a plugin's runner needs of a hub: four calls.

`headrace.remote` makes them over HTTP, `headrace.memory` in this process with nothing running. Contract:
dispatcher sections 8, 10, 16, 26.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from pipeline import limits
from pipeline.events.binary import BinaryEvent
from pipeline.events.parts import Datastream
from pipeline.events.plugin import PluginEvent
from pipeline.events.status import StatusEvent


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a plugin wants, in the words of the contract (section 10)."""

    name: str
    version: str
    actions: tuple[str, ...]
    sources: tuple[str, ...]
    streams: tuple[str, ...]
    """Labels, each with beginnings of formats behind commas."""
    content_max_bytes: int
    own_results: bool
    historic: bool
    max_security: str


class Fetched(NamedTuple):
    """What one fetch brought."""

    events: tuple[BinaryEvent, ...]
    filtered: int = 0
    """Events that were looked at and not handed out."""
    ready: bool = True
    """Whether the hub reads all there is for this plugin; False for a while after the first fetch."""
    paused: bool = False


class StreamName(NamedTuple):
    """Where the bytes of a stream are."""

    source: str
    label: str
    sha256: str


class Hub(Protocol):
    """The hub as a plugin sees it. Calls are bounded in time; passing failures are tried again inside.

    All raise `Unavailable` when it cannot be reached, and `BadInput` for what it refuses.
    """

    async def fetch(self, wanted: Subscription) -> Fetched:
        """Take tasks: at most one event. Whoever takes it answers for it with a final status."""

    async def read(self, stream: StreamName, into: Path, size_bytes: int) -> None:
        """Write the bytes of a stream to a file; a file that is there is written over.

        `size_bytes` is what the stream is expected to have, for the time limit; 0: not known.

        Raises:
            NotFound: There is no such stream. Damaged: The bytes are not those of its hash.
        """

    async def upload(self, stream: StreamName, path: Path) -> Datastream:
        """Store a file under its hash; it is durable when this returns what is known about it.

        The label of the answer is that of the stream. Storing the same bytes again changes nothing.
        """

    async def publish(
        self, event: PluginEvent | StatusEvent, *, attempts: int = limits.CALL_ATTEMPTS
    ) -> None:
        """Publish one event; it is durable when this returns. Publishing it again changes nothing."""
