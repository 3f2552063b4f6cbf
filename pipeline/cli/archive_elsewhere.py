"""The archive and the destination of a restore, opened once more in another process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline import logs
from pipeline.app import archive_of, make_parts
from pipeline.archive.archive import Archive
from pipeline.cli.loop import run_loop
from pipeline.log.connection import KafkaConnection
from pipeline.log.kafka.log import KafkaLog
from pipeline.log.port import Log
from pipeline.settings import Settings

T = TypeVar("T")


def elsewhere(settings: Settings, destination: Log) -> OpenedElsewhere | None:
    """Give what opens an archive and a destination in other processes; None where only one can.

    An embedded log belongs to one process, and so does a store in memory.
    """
    if not isinstance(destination, KafkaLog) or settings.objects == "memory:":
        return None
    return OpenedElsewhere(settings, destination.connection)


@dataclass(frozen=True)
class OpenedElsewhere:
    """Implements `pipeline.archive.restore.processes.Elsewhere`; all it holds can be pickled."""

    settings: Settings
    connection: KafkaConnection

    def __call__(self, work: Callable[[Archive, Log], Awaitable[T]]) -> T:
        """Open both, run `work` on an event loop, close both and return the result."""
        logs.configure(self.settings.logging)
        return run_loop(self._run(work))

    async def _run(self, work: Callable[[Archive, Log], Awaitable[T]]) -> T:
        parts = make_parts(self.settings)
        log = KafkaLog(self.connection)
        try:
            # Its tables are there: the process that shares the work out has opened it.
            await parts.database.open(migrate=False)
            await parts.archived.open()
            await log.open()
            return await work(archive_of(parts), log)
        finally:
            await log.close()
            await parts.archived.close()
            await parts.database.close()
