"""Tells when an agent has stopped making progress although there is something to do.

Faust can stop fetching after a rebalance, or never finish one, without crashing (faust-notes, section 4).
The watchdog compares what is acknowledged with the ends of the partitions, asked from the log itself. What
is stalled shows in the metric and in the log; an app that reads no more is ended, so that whoever runs it
starts it again. One that has records in hand is left alone: its agent may rightly wait for a sink.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from mode import get_logger

from pipeline import limits, metrics
from pipeline.clock import Clock
from pipeline.errors import Unavailable

logger = get_logger(__name__)


class Standing(NamedTuple):
    """Where the work on one partition stands, and since when (steady seconds).

    `unread` is true when there is more to read although the app has nothing in hand, in any partition.
    """

    done: int
    end: int
    unread: bool
    since: float

    @property
    def lag(self) -> int:
        """Records not acknowledged yet."""
        return max(self.end - self.done, 0)


class Watchdog:
    """Watches one app. `run` it beside the app; ask `stalled` at any time.

    Args:
        app: The app, started or about to be.
        clock: Time.
        stalled_after_seconds: How long nothing may move while there is work.
    """

    def __init__(
        self, app: Any, clock: Clock, *, stalled_after_seconds: float = limits.STALLED_AFTER_SECONDS
    ) -> None:
        self._app = app
        self._clock = clock
        self._patience = stalled_after_seconds
        self._standings: dict[Any, Standing] = {}
        self._answered = clock.monotonic()
        self._settled = clock.monotonic()
        self._reported = False

    @property
    def standings(self) -> dict[Any, Standing]:
        """The last look at each assigned partition."""
        return dict(self._standings)

    async def run(self) -> None:
        """Look again and again until cancelled."""
        try:
            while True:
                await self.look()
                await self._clock.sleep(limits.WATCHDOG_SECONDS)
        finally:
            # Its figures would stand for ever, also of partitions nobody reads any more.
            self._show({})
            metrics.AGENT_STALLED.remove(self._app.conf.id)

    async def look(self) -> None:
        """Compare once, set the metrics, and end an app that reads no more.

        An unreachable log is noted, not raised.
        """
        app = self._app
        if not app.rebalancing:
            self._settled = self._clock.monotonic()
        try:
            async with asyncio.timeout(limits.LOG_CALL_TIMEOUT_SECONDS):
                await self._compare()
            self._answered = self._clock.monotonic()
        except Exception as error:  # noqa: BLE001 - a driver may raise anything; the watchdog must go on
            logger.warning("cannot compare group %s with its log: %r", app.conf.id, error)
        self._report(self.stalled())

    def _report(self, reason: str | None) -> None:
        app = self._app
        metrics.AGENT_STALLED.labels(app.conf.id).set(1 if reason else 0)
        if reason and not self._reported:
            logger.warning("%s", reason)
        self._reported = reason is not None
        if reason is None or app.crashed:
            return
        if app.rebalancing or any(standing.unread for standing in self._overdue().values()):
            app.give_up(Unavailable(f"go on reading as group {app.conf.id}", reason))

    def stalled(self) -> str | None:
        """Return why the app is stuck in one sentence; None when it is not."""
        app, now = self._app, self._clock.monotonic()
        if app.crashed:
            return f"group {app.conf.id} crashed: {app.crash_reason!r}"
        if now - self._answered >= self._patience:
            return f"group {app.conf.id}: the log has not answered for {now - self._answered:.0f} s"
        if app.rebalancing:
            late_seconds = now - self._settled
            if late_seconds < self._patience:
                return None
            return f"group {app.conf.id} has been rebalancing for {late_seconds:.0f} s"
        for tp, standing in self._overdue().items():
            return (
                f"group {app.conf.id} has been at offset {standing.done} of {tp.topic}[{tp.partition}] "
                f"for {now - standing.since:.0f} s, {standing.lag} records before its end"
            )
        return None

    def _overdue(self) -> dict[Any, Standing]:
        now = self._clock.monotonic()
        return {
            tp: its for tp, its in self._standings.items() if its.lag and now - its.since >= self._patience
        }

    async def _compare(self) -> None:
        app = self._app
        if not app.started or app.rebalancing or app.should_stop:
            return
        consumer = app.consumer
        readings = {
            tp: progress
            for tp, progress in consumer.progress().items()
            if app.topics.acks_enabled_for(tp.topic)
        }
        ends = await consumer.highwaters(*readings) if readings else {}
        in_hand = any(progress.open_records for progress in readings.values())
        standings = {}
        for tp, progress in readings.items():
            done, end = progress.committable or progress.start, ends.get(tp) or 0
            unread = not in_hand and done < end and await self._unread(tp, progress.next, done, end)
            standings[tp] = self._stand(tp, done, end, unread)
        self._show(standings)

    def _show(self, standings: dict[Any, Standing]) -> None:
        group = self._app.conf.id
        for tp, standing in standings.items():
            metrics.LOG_LAG.labels(group, tp.topic, str(tp.partition)).set(standing.lag)
        for tp in self._standings.keys() - standings.keys():
            metrics.LOG_LAG.remove(group, tp.topic, str(tp.partition))
        self._standings = standings

    async def _unread(self, tp: Any, fetched: int, done: int, end: int) -> bool:
        """Tell whether records are there to be delivered: before the end may be markers only."""
        position = await self._app.consumer.position(tp)
        return fetched > done or (position is not None and position < end)

    def _stand(self, tp: Any, done: int, end: int, unread: bool) -> Standing:
        before = self._standings.get(tp)
        same = before is not None and (before.done, before.unread) == (done, unread) and before.lag
        return Standing(done, end, unread, before.since if before and same else self._clock.monotonic())
