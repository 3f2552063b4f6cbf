"""Each event once for each plugin, whichever lanes it comes on. Off unless a setting gives it memory.

What was received is a hash in a table of fixed size, so a plugin may be given an event again when others
have taken its place, but never misses one for that (but for two equal hashes of 64 bits). An event counts
as received when the answer that held it was, and then also goes to topic ``system.seen``: the processes
that hand out follow it, and read it when they start. Contract: dispatcher section 12, step 6, where this is
lost at a restart and not shared.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Final
from weakref import WeakValueDictionary

import structlog
import xxhash

from pipeline.clock import Clock
from pipeline.errors import HeadraceError
from pipeline.events.topics import SEEN, system_topic
from pipeline.hub.fetch.gates import Gate, Held
from pipeline.hub.fetch.taking import Taken
from pipeline.hub.wanted import Wanted
from pipeline.log.follower import Follower
from pipeline.log.port import Log, NewRecord, Record
from pipeline.metrics_hub import DEDUPE_COLLISIONS, DEDUPE_HITS, DEDUPE_LOOKUPS

STEP: Final = "FilterDuplicates"
SKIPPED: Final = f"{STEP}-skipped"
ERROR: Final = f"{STEP}-error"

_log = structlog.get_logger(__name__)
_SLOT_BYTES: Final = 8


class Slots:
    """A set of 64-bit hashes in fixed memory: where two want one slot, the later one has it.

    Args:
        size_bytes: Rounded up to a power of two.
    """

    def __init__(self, size_bytes: int) -> None:
        slots = 1 << max(0, (-(-size_bytes // _SLOT_BYTES) - 1).bit_length())
        self._slots = array("Q", bytes(slots * _SLOT_BYTES))
        self._mask = slots - 1

    def __contains__(self, hashed: int) -> bool:
        """Say whether a hash is held."""
        return self._slots[hashed & self._mask] == hashed

    def put(self, hashed: int) -> bool:
        """Hold a hash from now on; say whether another one had to go."""
        slot = hashed & self._mask
        old, self._slots[slot] = self._slots[slot], hashed
        return old not in {0, hashed}


class Seen(Follower):
    """What was received, over all processes and restarts.

    Args:
        log: An open log.
        prefix: Of the topics.
        clock: Spaces the tries when the log does not answer.
        size_bytes: Memory for the hashes.
    """

    def __init__(self, log: Log, prefix: str, clock: Clock, *, size_bytes: int) -> None:
        super().__init__(log, system_topic(prefix, SEEN), clock)
        self._slots = Slots(size_bytes)

    def __contains__(self, hashed: int) -> bool:
        """Say whether an event was received."""
        return hashed in self._slots

    async def add(self, hashes: Sequence[int]) -> None:
        """Note what was received: known here at once, durable when this returns.

        Raises:
            Unavailable: The log does not answer; only this process knows.
        """
        DEDUPE_COLLISIONS.inc(sum([self._slots.put(hashed) for hashed in hashes]))
        await self._log.append([NewRecord(self.topic, None, struct.pack(f"<{len(hashes)}Q", *hashes))])

    def take(self, record: Record) -> None:
        """Take in what one answer held; what cannot be read says nothing."""
        value = record.value or b""
        for (hashed,) in struct.iter_unpack("<Q", value[: len(value) // _SLOT_BYTES * _SLOT_BYTES]):
            self._slots.put(hashed)

    def forget(self) -> None:
        """Keep what is known: half of it is as right as all of it."""


class Duplicates(Gate):
    """Holds back binary events that their plugin has received under the same name and version.

    Events flagged `bypass_cache` or `expedite` and retries pass. What is out at a client is held back from
    other requests of the same consumer: it goes out again to them should that answer be lost. Other
    consumers of the plugin would miss it then, so they are given it.

    Args:
        seen: What was received. The gate closes it.
    """

    step = STEP

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._out: WeakValueDictionary[tuple[str, int], Taken] = WeakValueDictionary()
        """What is out at a client or waits to go out again, while it does, by consumer key and hash."""

    async def held(self, wanted: Wanted, taken: Sequence[Taken]) -> Held:
        """Say which events their plugin has received. Raises `Unavailable`."""
        if wanted.model != "binary":
            return {}
        await self._seen.ready()
        reasons = {index: self._reason(wanted, each) for index, each in enumerate(taken) if _counts(each)}
        held = {index: reason for index, reason in reasons.items() if reason}
        DEDUPE_LOOKUPS.inc(len(reasons))
        DEDUPE_HITS.inc(sum(reason == SKIPPED for reason in held.values()))
        return held

    async def done(self, wanted: Wanted, passed: Sequence[Taken]) -> None:
        """Note what was received. When the log does not answer, only until this process ends."""
        if wanted.model != "binary":
            return
        hashes = [_hash(wanted, each) for each in passed if _counts(each)]
        if hashes:
            try:
                await self._seen.add(hashes)
            except HeadraceError as error:
                _log.warning("received events may come again after a restart", reason=str(error))

    async def close(self) -> None:
        """Stop following."""
        await self._seen.close()

    def _reason(self, wanted: Wanted, each: Taken) -> str | None:
        if not each.glance.kafka_key:
            return ERROR
        hashed = _hash(wanted, each)
        if hashed in self._seen:
            return SKIPPED
        first = self._out.setdefault((wanted.consumer.key, hashed), each)
        return None if first is each else SKIPPED


def _counts(taken: Taken) -> bool:
    return not (taken.retry or taken.glance.bypass_cache or taken.glance.expedite)


def _hash(wanted: Wanted, taken: Taken) -> int:
    """Return the hash of plugin and event; 0 stands for an empty slot."""
    whose = f"{wanted.name}\0{wanted.version}\0{taken.glance.kafka_key}"
    return xxhash.xxh64_intdigest(whose.encode()) or 1
