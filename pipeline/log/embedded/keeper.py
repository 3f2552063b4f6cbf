"""The keeper: one thread that moves the journal into segments and applies retention and compaction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import Damaged, HeadraceError, Unavailable
from pipeline.log.embedded.compaction import compact
from pipeline.log.embedded.contents import Contents, Topic
from pipeline.log.embedded.disk import Disk, translate
from pipeline.log.embedded.flush import flush
from pipeline.log.embedded.journal import Journal, journal_numbers, journal_path
from pipeline.log.embedded.partition import Partition
from pipeline.log.embedded.retention import drop_expired
from pipeline.log.embedded.snapshot import Snapshot, write_snapshot

_log = structlog.get_logger(__name__)


class Keeper:
    """Keeps the folder in shape, and journals few.

    There are at most two journals: the one written to and the one being moved into the segments. When
    the disk is full the journal cannot be moved; appends then fail with the reason once the current
    journal is full too, and go on when moving works again.

    Args:
        disk: Where to write.
        folder: The folder of the log.
        contents: What it holds.
        clock: Tells what has expired.
        make_secret: Gives the secret of a new journal, 64 random bits.
    """

    def __init__(
        self, disk: Disk, folder: Path, contents: Contents, clock: Clock, make_secret: Callable[[], int]
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._contents = contents
        self._clock = clock
        self._make_secret = make_secret
        self._changed = threading.Condition()
        self._work = threading.Lock()
        self._current = (0, 0)
        self._needed = 0
        self._written: Snapshot | None = None
        self._asked = 0
        self._answered = 0
        self._error: HeadraceError | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="log-keeper", daemon=True)

    # --- journals ---

    def begin_journal(self, number: int, sequence: int) -> Journal:
        """Begin a journal; raises `OSError`, and the one before is still the current one then."""
        begun = Journal(self._disk, self._folder, number, self._make_secret(), sequence)
        with self._changed:
            self._current = (number, sequence)
        return begun

    def next_journal(self, full: Journal) -> Journal:
        """Begin the journal after `full`, waiting until the one before `full` is gone (writer thread).

        Raises:
            HeadraceError: The one before cannot be moved into the segments; says why.
            OSError: The new one cannot be begun.
        """
        with self._changed:
            if self._needed < full.number:
                asked = self._ask()
                self._changed.wait_for(
                    lambda: self._needed >= full.number or self._answered >= asked,
                    limits.LOG_CALL_TIMEOUT_SECONDS,
                )
            if self._needed < full.number:
                raise self._error or Unavailable("append to the log", "the disk is too slow", "wait")
        full.repair()  # only the newest journal may end torn
        begun = self.begin_journal(full.number + 1, full.sequence)
        full.close()
        with self._changed:
            self._ask()
        return begun

    def _ask(self) -> int:
        """Ask for a checkpoint; return the number `_answered` has when one was tried since."""
        self._asked += 1
        self._changed.notify_all()
        return self._asked

    # --- work ---

    def checkpoint(self) -> None:
        """Move what only journals have into the segments, and remove journals not needed any more.

        Raises:
            OSError: The disk does not take it; the journals stay, nothing is lost.
        """
        with self._work:
            self._checkpoint()

    def _checkpoint(self) -> None:
        with self._changed:
            # Read first: all that older journals hold was shown in memory before the current one began.
            number, sequence = self._current
        for topic in list(self._contents.topics.values()):
            for partition in topic.partitions:
                flush(self._disk, partition, topic.settings.segment_bytes)
        # A crash here leaves segments longer than the old snapshot says; start cuts them and reads the
        # journals again.
        snapshot = self._contents.snapshot(number, sequence)
        if snapshot != self._written:
            write_snapshot(self._disk, self._folder, snapshot)
            self._written = snapshot
        # A crash here leaves journals the snapshot does not need; start removes them.
        for old in journal_numbers(self._folder):
            if old < number:
                self._disk.remove(journal_path(self._folder, old))
        with self._changed:
            self._needed = number

    def tidy(self, *, all_dirty: bool = False) -> None:
        """Apply retention and compaction.

        Args:
            all_dirty: Compact whatever is not compacted yet, however little.

        Raises:
            OSError: The disk does not take it; the old files stay in use.
        """
        with self._work:
            self._checkpoint()
            now_ms = int(self._clock.unix() * 1000)
            replaced: list[Path] = []
            for topic in list(self._contents.topics.values()):
                for partition in topic.partitions:
                    replaced += self._tidy_partition(topic, partition, now_ms, all_dirty=all_dirty)
            if replaced:
                # Until this snapshot is in place the old files count, and after it the new ones.
                self._checkpoint()
                for path in replaced:
                    self._disk.remove(path)

    def tidy_now(self) -> None:
        """Do all of `tidy` that there is to do, however little; blocks."""
        self.tidy(all_dirty=True)

    def last_checkpoint(self) -> None:
        """Leave as little as possible to the next start; blocks. A failure is only logged."""
        self._attempt(self.checkpoint)

    def _tidy_partition(
        self, topic: Topic, partition: Partition, now_ms: int, *, all_dirty: bool
    ) -> list[Path]:
        replaced: list[Path] = []
        if topic.settings.delete:
            replaced += drop_expired(partition, topic.settings, now_ms)
        if topic.settings.compact:
            try:
                replaced += compact(self._disk, partition, topic.settings, now_ms, all_dirty=all_dirty)
            except Damaged as error:
                # One damaged file must not keep the others from being tidied; whoever reads it is told too.
                _log.error("log segment cannot be compacted", reason=str(error))
        return replaced

    # --- the thread ---

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is doing; blocks."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        tidy_due = self._clock.monotonic()
        while True:
            with self._changed:
                idle = self._asked == self._answered and self._clock.monotonic() < tidy_due
                if idle and not self._stopping:
                    self._changed.wait(limits.LOG_TIDY_SECONDS)
                if self._stopping:
                    return
                asked = self._asked
            if asked != self._answered:
                error = self._attempt(self.checkpoint)
                with self._changed:
                    self._error = error
                    self._answered = asked
                    self._changed.notify_all()
            if self._clock.monotonic() >= tidy_due:
                self._attempt(self.tidy)
                tidy_due = self._clock.monotonic() + limits.LOG_TIDY_SECONDS

    def _attempt(self, job: Callable[[], None]) -> HeadraceError | None:
        error: HeadraceError
        try:
            job()
        except OSError as failure:
            error = translate("move the log journal into segments", failure)
        except HeadraceError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - a thread that dies would stop all appends for good
            _log.exception("log keeper failed")
            error = Unavailable("tidy the log", repr(failure), "report this as a fault")
        else:
            return None
        _log.warning("log cannot be tidied now; tried again later", reason=str(error))
        return error
