"""Tables from their changelogs: whole lists applied at once, and an end that always comes.

Faust reads changelogs through a queue, event by event, and waits for the event just before the end of the
changelog. Where compaction or markers left no such event it waits for ever (faust-notes, section 3).
"""

from __future__ import annotations

import contextlib
from typing import Any

from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import Recovery as FaustRecovery
from faust.tables.recovery import ServiceStopped
from mode import Service

from pipeline.errors import Unavailable
from pipeline.log.transport.fetched import Fetched
from pipeline.log.transport.store import Store


class Recovery(FaustRecovery):
    """Faust's recovery, given lists by the consumer (`take`) and told how far it read (`reached`)."""

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Do nothing: Faust's loop over the queue, which stays empty."""

    def _set_recovery_started(self) -> None:
        self.signal_recovery_end.clear()
        super()._set_recovery_started()

    async def _wait(self, coro: Any, timeout: Any = None) -> None:
        """Wait for one step, or for a stop or another rebalance, which Faust raises.

        A step that takes too long ends the app: Faust takes it for a stop, and would never read again.
        """
        try:
            await super()._wait(coro, timeout)
        except ServiceStopped:
            if not (self.should_stop or self.app.should_stop):
                why = f"the log did not answer within {timeout} s"
                self.app.give_up(Unavailable(f"finish a rebalance of group {self.app.conf.id}", why))
            raise

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Let the streams run. Whoever waits for this learns of a stop by itself."""
        with contextlib.suppress(ServiceStopped):
            await super().on_recovery_completed(generation_id)

    def take(self, fetched: Fetched, consumer: Any) -> None:
        """Apply the records of one changelog partition that were not applied before."""
        tp = fetched.tp
        offsets = self.active_offsets if tp in self.active_tps else self.standby_offsets
        seen = offsets.get(tp)
        records = [each for each in fetched.records if seen is None or each.offset > seen]
        table = self.tp_to_table.get(tp)
        if table is None or not records:
            return
        if isinstance(table.data, Store):
            table.data.apply(consumer.to_records(records))
        else:
            messages = [consumer._to_message(tp, each) for each in records]
            table.apply_changelog_batch(
                [self.app.create_event(each.key, each.value, each.headers, each) for each in messages]
            )
        offsets[tp] = records[-1].offset
        self._end_if_done()

    def reached(self, tp: Any, position: int | None) -> None:
        """Note that everything before `position` was read, whether or not there were records."""
        if position is None:
            return
        for offsets, ends in (
            (self.active_offsets, self.active_highwaters),
            (self.standby_offsets, self.standby_highwaters),
        ):
            end = ends.get(tp)
            if end is not None and position > end and (offsets.get(tp) or -1) < end:
                offsets[tp] = end
        self._end_if_done()

    def waiting(self) -> list[Any]:
        """Return the changelog partitions whose end is not reached yet."""
        remaining = {**self.standby_remaining(), **self.active_remaining()}
        return [tp for tp, count in remaining.items() if count > 0]

    def _end_if_done(self) -> None:
        if self.in_recovery and not self.need_recovery():
            self._set_recovery_ended()
            self.signal_recovery_end.set()
        if not self.in_recovery and not self.tables.standbys_ready and not self.standby_remaining_total():
            self.tables.on_standbys_ready()


class TableManager(FaustTableManager):
    """Faust's table manager with our recovery."""

    async def on_start(self) -> None:
        """Start without the second Faust waits for tables to be declared; ours are, before the start."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()
        if self.should_stop:  # stopped while it was starting: the stop has passed here already
            await self.recovery.stop()

    _recovery: Recovery | None = None

    @property
    def recovery(self) -> Recovery:
        """The recovery service of this app."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
