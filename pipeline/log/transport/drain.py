"""The consumer's side of a transport: fetch lists, deliver them, commit only what is finished.

`LeanConsumer` stands before a Faust consumer class in the bases of ours. It replaces the loop over single
messages by one over lists per partition, and the rule for commits by `progress`. Three rules make it
safe where Faust's loop was not:

- Fetching and seeking never overlap (`_positions`), so fetched records always belong to the position
  they were fetched from. After a rebalance every partition is sought, whatever was fetched meanwhile.
- Records of source topics are fetched only when no rebalance is under way: each ends by seeking to the
  committed offsets, after which Faust empties its queues.
- What cannot be delivered now (partition paused, flow stopped) is held, not thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.consumer import ensure_TP, ensure_TPset
from faust.types.tuples import ack_lock
from mode import get_logger
from mode.utils.futures import notify

from pipeline import limits
from pipeline.log.port import Record
from pipeline.log.transport.conductor import MESSAGES, Handler
from pipeline.log.transport.fetched import Fetched
from pipeline.log.transport.progress import Progress
from pipeline.log.transport.recovery import Recovery

logger = get_logger(__name__)


class LeanConsumer(FaustConsumer):
    """Stands before a driver's class, which gives `_getmany`, `_commit` and the seeks."""

    fetch_wait_seconds = limits.FETCH_WAIT_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._progress: dict[Any, Progress] = {}
        self._held: dict[Any, Fetched] = {}
        self._positions = asyncio.Lock()
        self._wake = asyncio.Event()
        self._gathering_until = 0.0
        super().__init__(*args, **kwargs)

    def to_records(self, records: Any) -> list[Record]:
        """Turn records as the driver gives them into ours."""
        raise NotImplementedError

    def wake(self) -> None:
        """Look again for something to fetch or deliver: a partition was resumed or a buffer has room."""
        self._wake.set()

    def progress(self) -> Mapping[Any, Progress]:
        """Return the present reading of each assigned partition, for the watchdog."""
        return self._progress

    # --- the loop -----------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch and deliver until the consumer or the fetcher stops (called by Faust's fetcher)."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._round()
        except (asyncio.CancelledError, *self.consumer_stopped_errors):
            # The fetcher is cancelled whenever it is stopped; only then is this the end of the loop.
            if self.app.should_stop or fetcher.should_stop:
                return
            raise

    async def _round(self) -> None:
        self._wake.clear()
        wanted = self._wanted()
        moved = False
        for tp, handler in wanted.items():
            if self.flow_active and tp in self._held:
                moved = await self._deliver(self._held.pop(tp), handler) or moved
        missing = {tp for tp in wanted if tp not in self._held}
        if missing and not moved:
            await self._fetch(missing)
        elif moved:
            await asyncio.sleep(0)
        else:
            await self._idle()

    async def _idle(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.FETCH_IDLE_SECONDS):
                await self._wake.wait()

    def _wanted(self) -> dict[Any, Handler]:
        """Partitions that may be read now, with who takes their records."""
        app = self.app
        if not (self.flow_active and app.flow_control.is_active()):
            return {}
        candidates = self.assignment() if app.client_only else self._get_active_partitions()
        changelogs = app.tables.changelog_topics
        wanted = {}
        for tp in candidates:
            if app.rebalancing and tp.topic not in changelogs:
                continue
            handler = app.topics.handler(tp)
            if handler is None or handler.full():
                continue
            progress = self._progress.get(tp)
            if progress is not None and progress.open_records >= limits.UNACKNOWLEDGED_RECORDS:
                continue
            wanted[tp] = handler
        return wanted

    async def _gather(self) -> bool:
        """Let records gather when the app says so and few came with the last fetch; True when it waited.

        Then the partitions to read have to be looked at again: they may have been given up meanwhile.
        """
        pause_seconds = self._gathering_until - asyncio.get_running_loop().time()
        if pause_seconds <= 0:
            return False
        await asyncio.sleep(pause_seconds)
        return True

    def _gather_next(self, fetched: Mapping[Any, Any] | None) -> None:
        most = max(map(len, fetched.values()), default=0) if fetched else 0
        few = most < limits.BATCH_RECORDS
        # Any Faust app may run on these transports; only ours know the setting.
        pause_seconds = getattr(self.app, "linger_seconds", 0.0) if few else 0.0
        self._gathering_until = asyncio.get_running_loop().time() + pause_seconds

    async def _fetch(self, tps: set[Any]) -> None:
        if await self._gather():
            return
        busy = len(tps) < len(self._get_active_partitions())
        timeout = limits.FETCH_WAIT_BUSY_SECONDS if busy else self.fetch_wait_seconds
        async with self._positions:
            fetched = await self._getmany(tps, timeout)
            self._gather_next(fetched)
            for raw_tp, records in (fetched or {}).items():
                if records:
                    self._accept(ensure_TP(raw_tp), records)
        if not fetched and self.app.rebalancing:
            await self._settle_recovery()

    def _accept(self, tp: Any, records: Any) -> None:
        """Hold what was fetched until it is delivered, which the next round does."""
        first = records[0].offset
        progress = self._progress.get(tp)
        if progress is None:
            if not self.app.client_only:
                return  # revoked while it was fetched; whoever has the partition seeks first
            progress = self._begin(tp, first)
        if first < progress.next:
            logger.warning(
                "%s[%s] was cut or made anew: expected offset %s, reading on at %s",
                tp.topic, tp.partition, progress.next, first,
            )  # fmt: skip
            self._committed_offset[tp] = None
            progress = self._begin(tp, first)
        progress.next = records[-1].offset + 1
        self._read_offset[tp] = records[-1].offset
        self._held[tp] = Fetched(tp, records, progress)

    async def _deliver(self, fetched: Fetched, handler: Handler) -> bool:
        if fetched.progress.closed:
            return False
        await handler.deliver(fetched)
        self.app.monitor.track_tp_end_offset(fetched.tp, self.highwater(fetched.tp))
        return True

    async def _settle_recovery(self) -> None:
        """Tell recovery how far changelogs were read: their end may hold no records."""
        recovery = self.app.tables.recovery
        if isinstance(recovery, Recovery):
            for tp in recovery.waiting():
                if tp not in self._held:
                    recovery.reached(tp, await self.position(tp))

    # --- positions ----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _standing_still(self) -> AsyncIterator[None]:
        """Keep fetches out; one that waits for records is woken."""
        self.wake()
        async with self._positions:
            yield
        self.wake()

    def _begin(self, tp: Any, offset: int) -> Progress:
        """End the present reading of a partition and begin another at `offset`."""
        self._end(tp)
        progress = self._progress[tp] = Progress(offset)
        return progress

    def _end(self, tp: Any) -> Progress | None:
        self._held.pop(tp, None)
        self._acked.pop(tp, None)
        self._acked_index.pop(tp, None)
        progress = self._progress.pop(tp, None)
        if progress is not None:
            progress.closed = True
        return progress

    async def perform_seek(self) -> None:
        """Go to the committed offsets, or where there is none to the start of the partition.

        A partition without a commit is sought too. Its position may have moved already: a fetch that was
        under way when the partition was assigned reads on in it, and what it brings is given to nobody.
        """
        async with self._standing_still():
            every = await self.seek_to_committed()
            # Recovery put the changelogs where they must be.
            committed = {
                ensure_TP(tp): at for tp, at in every.items() if not self._is_changelog_tp(ensure_TP(tp))
            }
            starts = await self._starts([tp for tp, offset in committed.items() if not offset])
            for tp, start in starts.items():
                await self._seek(tp, start)
            for tp, offset in committed.items():
                self._begin(tp, offset or starts[tp])
                self._read_offset[tp] = offset
                self._committed_offset[tp] = offset or None

    async def _starts(self, tps: list[Any]) -> dict[Any, int]:
        """Return where the partitions begin for a group that never committed."""
        if not tps:
            return {}
        at_end = self.app.conf.consumer_auto_offset_reset == "latest"
        found = await (self.highwaters(*tps) if at_end else self.earliest_offsets(*tps))
        return {ensure_TP(tp): offset or 0 for tp, offset in found.items()}

    async def seek(self, partition: Any, offset: int) -> None:
        """Read on at `offset`; commits follow from there, but never move back."""
        tp = ensure_TP(partition)
        async with self._standing_still():
            await self._seek(partition, offset)
            self._begin(tp, offset)
            self._read_offset[tp] = offset or None

    async def seek_wait(self, partitions: Mapping[Any, int]) -> None:
        """Go to the given offsets and wait until that is done."""
        async with self._standing_still():
            await super().seek_wait(partitions)
            for tp, offset in partitions.items():
                self._begin(ensure_TP(tp), max(offset, 0))

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Commit what is finished, then forget the partitions: another member may have them next."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.REBALANCE_COMMIT_SECONDS):
                # The first call may only have waited for a commit that was under way.
                if revoked and not await self.commit():
                    await self.commit()
        for tp in revoked:
            self._end(tp)
        self._buffered_partitions.clear()
        await super().on_partitions_revoked(revoked)

    def resume_partitions(self, tps: Iterable[Any]) -> None:
        """Fetch from the partitions again, beginning now."""
        super().resume_partitions(ensure_TPset(tps))
        self.wake()

    def resume_flow(self) -> None:
        """Let the loop run again, beginning now."""
        super().resume_flow()
        self.wake()

    # --- commits ------------------------------------------------------------------------------

    def ack(self, message: Any) -> bool:
        """Note that an ordinary stream is done with a message.

        Faust's streams also acknowledge what they skip while flow is stopped or after a rebalance; such
        messages were never tracked or belong to an older generation, and do not count.
        """
        with ack_lock:
            if message.acked:
                return False
            message.acked = True
            self._unacked_messages.discard(message)
            notify(self._waiting_for_ack)
            stale = message.generation_id != self.app.consumer_generation_id
            if stale or not message.tracked or not self.app.topics.acks_enabled_for(message.topic):
                return False
            self._acked[message.tp].append(message.offset)
            self._n_acked += 1
            return True

    def _take_acknowledged(self, tp: Any, progress: Progress) -> None:
        """Move acknowledgements of ordinary streams (their compiled loop writes the list itself)."""
        offsets = self._acked.pop(tp, None)
        self._acked_index.pop(tp, None)
        if not offsets:
            return
        track = progress.track(MESSAGES)
        for offset in offsets:
            if offset < progress.next:
                track.finish(offset, offset + 1)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> list[Any]:
        return [tp for tp in self._progress if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: Any) -> int | None:
        progress = self._progress[tp]
        self._take_acknowledged(tp, progress)
        return progress.committable

    async def on_stop(self) -> None:
        """Commit for the last time; what the log does not take in time is read again by the next."""
        if self.app.conf.stream_wait_empty:
            await super().on_stop()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.STOP_FLUSH_SECONDS):
                await super().on_stop()

    async def maybe_wait_for_commit_to_finish(self) -> bool:
        """Wait for a commit under way; unlike Faust's, this one can be cancelled."""
        under_way = self._commit_fut
        if under_way is None:
            return False
        await asyncio.wait([under_way])
        return not under_way.cancelled()

    async def _commit_offsets(self, offsets: Mapping[Any, int], start_new_transaction: bool = True) -> bool:
        """Commit after everything sent before is durable; an offset counts only when the log took it."""
        if self.in_transaction:
            return bool(await super()._commit_offsets(offsets, start_new_transaction))
        readings = {tp: self._progress.get(tp) for tp in offsets}
        await self.app.producer.flush()
        assignment = self.assignment()
        valid = {
            tp: offset
            for tp, offset in offsets.items()
            if tp in assignment and readings[tp] is not None and readings[tp] is self._progress.get(tp)
        }
        if not valid or not await self._commit(valid):
            return False
        self.app.tables.on_commit(valid)
        self._committed_offset.update(valid)
        self.app.monitor.on_tp_commit(valid)
        return True

    async def verify_all_partitions_active(self) -> None:
        """Do nothing: Faust's check takes a quiet topic for a stuck one; see `watchdog`."""
