"""The archive a configuration names, opened for one piece of work at a time; and its source's log.

Lies under `houseutils`: what its commands do is for `pipeline.cli.archive_output`, which asks for an open
archive as often as it needs one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.cli.loop import run_loop
from pipeline.errors import SettingError
from pipeline.housekeeping.config import STORE, Config, Use

if TYPE_CHECKING:
    from pipeline.archive.archive import Archive
    from pipeline.log.port import Log
    from pipeline.settings import Settings

T = TypeVar("T")


class OnArchive:
    """Runs work on the archive of a configuration, open while it runs.

    Args:
        config: Names database and store.
        scratch: Folder mocks live in, as long as the command.
        migrate: Whether opening brings the tables up to date.
        uses: What the work needs beside the database.
        all_copies: Whether the backup bucket is part of it though others fill it: for what deletes.
    """

    def __init__(
        self,
        config: Config,
        scratch: Path,
        *,
        migrate: bool = True,
        uses: Collection[Use] = STORE,
        all_copies: bool = False,
    ) -> None:
        self._config = config
        self._scratch = scratch
        self._migrate = migrate
        self._uses = uses
        self._all_copies = all_copies
        self._settings: Settings | None = None

    def __call__(self, work: Callable[[Archive], Awaitable[T]]) -> T:
        """Open the archive, run `work` on an event loop, close the archive and return the result.

        Raises:
            SettingError: A part cannot be what the configuration says. Unavailable: One does not answer.
        """

        async def run() -> T:
            async with self.opened() as archive:
                return await work(archive)

        return run_loop(run())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Archive]:
        """Open the archive while the block runs."""
        from pipeline.app import archive_of, make_parts

        parts = make_parts(await self.settings())
        try:
            await parts.database.open(migrate=self._migrate)
            if "store" in self._uses:
                await parts.archived.open()
            yield archive_of(parts)
        finally:
            await parts.archived.close()
            await parts.database.close()

    async def settings(self) -> Settings:
        """Give the settings; what AWS says about them is asked for once."""
        if self._settings is None:
            from pipeline.housekeeping.settings import settings_of

            self._settings = await settings_of(
                self._config, scratch=self._scratch, uses=self._uses, all_copies=self._all_copies
            )
        return self._settings


@asynccontextmanager
async def source_log(config: Config) -> AsyncIterator[Log]:
    """Open the log of a configuration's source, real or embedded, while the block runs.

    Raises:
        SettingError: It is a mock, or cannot be what the configuration says.
        Unavailable: It does not answer. Conflict: Another process holds the embedded log.
    """
    kind = config.text("hop-type")
    if kind == "mock":
        raise SettingError("open the source", "it is a mock, which has no topics", "choose another with -H")
    log: Log
    if kind == "local":
        from pipeline import settings as headrace
        from pipeline.clock import SystemClock
        from pipeline.log.location import make_log

        log = make_log(headrace.load().settings, SystemClock())
    else:
        from pipeline.housekeeping.source import connection_of
        from pipeline.log.kafka.log import KafkaLog

        log = KafkaLog(await connection_of(config))
    await log.open()
    try:
        yield log
    finally:
        await log.close()
