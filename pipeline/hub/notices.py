"""What the hub's processes tell each other: who consumes, when plugins were paused, who serves whom.

Kept on the compacted topic ``system.hub`` and followed by every process that hands out. Its partitions are
the *shares* of the work: everything about a consumer is on the partition of its key, and whoever serves a
share says so there (dispatcher contract, sections 14 and 23, where this is a key-value store).
"""

from __future__ import annotations

import msgspec
import structlog

from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import HeadraceError, TooLarge
from pipeline.events.topics import HUB, system_topic
from pipeline.hub.wanted import Wanted, decode_wanted
from pipeline.log.follower import Follower
from pipeline.log.partitioner import partition_for
from pipeline.log.port import Log, NewRecord, Record

_log = structlog.get_logger(__name__)
_CONSUMER = "consumer "
_PAUSE = "pause"
_SERVED = "served"


class Registered(msgspec.Struct, frozen=True):
    """A consumer as it last asked. Times are unix seconds."""

    key: str
    wanted: Wanted
    seen: float
    """When it asked; known to within `limits.HUB_REGISTRATION_SECONDS`."""
    pause_skipped: float = 0.0
    """The pause because of which it went to the end of everything; 0 for none."""


class _StoredConsumer(msgspec.Struct, frozen=True):
    wanted: msgspec.Raw
    seen: float
    pause_skipped: float = 0.0


class _StoredPause(msgspec.Struct, frozen=True):
    at: float


class _StoredServer(msgspec.Struct, frozen=True):
    url: str


class Notices(Follower):
    """Everything that was told, kept up to date; ready to be asked once `ready` has returned.

    Args:
        log: An open log.
        prefix: Of the topics.
        clock: Tells which registrations are old.
    """

    def __init__(self, log: Log, prefix: str, clock: Clock) -> None:
        super().__init__(log, system_topic(prefix, HUB), clock)
        self._consumers: dict[str, Registered] = {}
        self._servers: dict[int, str] = {}
        self._paused = float("-inf")

    # --- asking ---

    @property
    def paused_unix(self) -> float:
        """When plugins were last paused; minus infinity when never."""
        return self._paused

    def consumers(self) -> list[Registered]:
        """Return the consumers that asked for something lately."""
        since = self._clock.unix() - limits.HUB_CONSUMER_SECONDS
        return [each for each in self._consumers.values() if each.seen >= since]

    def consumer(self, key: str) -> Registered | None:
        """Return what is known of one consumer, however long ago it asked."""
        return self._consumers.get(key)

    def server(self, share: int) -> str | None:
        """Return the address of the process that last said it serves a share."""
        return self._servers.get(share)

    async def make_room(self, key: str) -> None:
        """Accept a consumer that is known, or one more, for which old ones are forgotten.

        Raises:
            TooLarge: There are more than are remembered.
            Unavailable: The log does not answer.
        """
        if key in self._consumers or len(self._consumers) < limits.HUB_CONSUMERS_MAX:
            return
        await self.forget_old()
        if len(self._consumers) >= limits.HUB_CONSUMERS_MAX:
            raise TooLarge("register a consumer", f"there are {limits.HUB_CONSUMERS_MAX} already")

    # --- telling ---

    async def register(self, wanted: Wanted, *, pause_skipped: float | None = None) -> None:
        """Remember a consumer; written only when it is news. Durable when it returns.

        Raises:
            TooLarge: There are more than are remembered.
            Unavailable: The log does not answer.
        """
        key, now = wanted.consumer.key, self._clock.unix()
        known = self._consumers.get(key)
        if (
            known is not None
            and pause_skipped in {None, known.pause_skipped}
            and now - known.seen < limits.HUB_REGISTRATION_SECONDS
            and known.wanted.rules == wanted.rules
        ):
            return
        await self.make_room(key)
        if pause_skipped is None:
            pause_skipped = known.pause_skipped if known else 0.0
        self._consumers[key] = Registered(key, wanted, now, pause_skipped)
        stored = _StoredConsumer(msgspec.Raw(wanted.encode()), now, pause_skipped)
        await self._tell(self.share_of(key), _CONSUMER + key, stored)

    async def forget_old(self) -> None:
        """Forget the consumers that have not asked for anything for long. Raises `Unavailable`."""
        since = self._clock.unix() - limits.HUB_CONSUMER_SECONDS - limits.HUB_REGISTRATION_SECONDS
        for key in [each.key for each in self._consumers.values() if each.seen < since]:
            del self._consumers[key]
            await self._tell(self.share_of(key), _CONSUMER + key, None)

    async def pause(self) -> None:
        """Pause plugins from now on, unless that was said within the last minute. Raises `Unavailable`."""
        now = self._clock.unix()
        if now - self._paused < limits.HUB_PAUSE_REPEAT_SECONDS:
            return
        self._paused = now
        await self._tell(0, _PAUSE, _StoredPause(now))

    async def resume(self) -> None:
        """End a pause: plugins go on where they were. Raises `Unavailable`."""
        self._paused = float("-inf")
        await self._tell(0, _PAUSE, None)

    async def serve(self, share: int, url: str) -> None:
        """Say that a share is served at this address. Raises `Unavailable`."""
        self._servers[share] = url
        await self._tell(share, _SERVED, _StoredServer(url))

    def share_of(self, key: str) -> int:
        """Return which share a consumer key belongs to."""
        return partition_for(key.encode(), limits.HUB_SHARES)

    async def _tell(self, share: int, key: str, value: msgspec.Struct | None) -> None:
        encoded = None if value is None else msgspec.json.encode(value)
        await self._log.append([NewRecord(self.topic, key.encode(), encoded, partition=share)])

    # --- following ---

    def take(self, record: Record) -> None:
        """Take in one notice; what cannot be read says nothing."""
        key = (record.key or b"").decode(errors="replace")
        try:
            self._take(key, record)
        except (HeadraceError, msgspec.DecodeError) as error:
            place = f"{record.topic}[{record.partition}] at {record.offset}"
            _log.warning("a notice of the hub cannot be read", place=place, reason=str(error))

    def _take(self, key: str, record: Record) -> None:
        value = record.value
        if key == _PAUSE:
            self._paused = msgspec.json.decode(value, type=_StoredPause).at if value else float("-inf")
        elif key == _SERVED and value:
            self._servers[record.partition] = msgspec.json.decode(value, type=_StoredServer).url
        elif key.startswith(_CONSUMER):
            name = key.removeprefix(_CONSUMER)
            if value is None:
                self._consumers.pop(name, None)
                return
            stored = msgspec.json.decode(value, type=_StoredConsumer)
            wanted = decode_wanted(bytes(stored.wanted))
            self._consumers[name] = Registered(name, wanted, stored.seen, stored.pause_skipped)

    def forget(self) -> None:
        """Let go of everything."""
        self._consumers.clear()
        self._servers.clear()
