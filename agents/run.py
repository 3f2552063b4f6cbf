"""Start and stop agents in this process.

Each agent is a Faust app of its own, with its own consumer group: a slow one holds up no other, each has
its lag, and a worker may run any set of them. An agent that crashes is logged, made anew and goes on at
what it had not acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import structlog

from agents.app import Address, Attach, RunEnded, run_app
from pipeline import limits, metrics
from pipeline.app import Parts
from pipeline.archive.attendant import Attendant
from pipeline.archive_source import group_of
from pipeline.errors import HeadraceError
from pipeline.hub.changelogs import app_id
from pipeline.identify.pool import ParserPool, parser_pool
from pipeline.log.lag import lag
from pipeline.log.location import where
from pipeline.log.membership import count_restart
from pipeline.log.port import TopicPartition

if TYPE_CHECKING:
    from agents.archiving import Archiving

log = structlog.get_logger(__name__)

ARCHIVE = "archive"
Run = Callable[[asyncio.Event, Address | None], Awaitable[None]]
"""Runs an agent until the event is set, with its statistics pages at the address."""


class Agents:
    """The agents running in this process, and what of their work is left anywhere.

    `archiving` is what the agent `archive` does, None where it does not run.
    """

    def __init__(self, parts: Parts, names: Sequence[str], archiving: Archiving | None = None) -> None:
        self._parts = parts
        self.names = tuple(names)
        self.archiving = archiving

    async def backlog(self) -> int:
        """Return how many records these agents have not finished, counted over all workers.

        Where the archive does not run in this process, of its topics those of the settings count.

        Raises:
            Unavailable: A log does not answer.
        """
        total = 0 if self.archiving is None else await self.archiving.backlog()
        counts = await self._parts.log.topics()
        for name in self.names:
            if name == ARCHIVE and self.archiving is not None:
                continue
            read: list[str] = import_module(f"agents.{name}").topics(self._parts)
            places = [TopicPartition(topic, n) for topic in read for n in range(counts[topic])]
            group = self._group(name)
            total += sum((await lag(self._parts.log, group, places)).values())
        return total

    def _group(self, name: str) -> str:
        settings = self._parts.settings
        return group_of(settings) if name == ARCHIVE else app_id(settings.events.prefix, name)

    def trouble(self) -> list[str]:
        """Say in sentences why an agent of this process does not do its work."""
        reason = None if self.archiving is None else self.archiving.trouble()
        return [reason] if reason else []


@asynccontextmanager
async def running(
    parts: Parts,
    *,
    names: Sequence[str] | None = None,
    pool: ParserPool | None = None,
    statistics: str = "",
    attendant: Attendant | None = None,
) -> AsyncIterator[Agents]:
    """Run agents until the block is left; then stop them in order.

    Args:
        parts: Opened parts.
        names: Which ones; None for those the settings name.
        pool: Parser processes that were started earlier; None to start some when an agent needs them.
        statistics: ``host:port`` of Faust's statistics pages; the agents after the first take the next
            ports. Empty for none. Where an address is taken there are no pages, which stops no work.
        attendant: Looks on while messages are archived. What it raises ends the block, which is cancelled,
            and is raised here.

    Raises:
        SettingError: What an agent needs is set wrongly.
    """
    names = parts.settings.worker.agents if names is None else names
    stop = asyncio.Event()
    failure: BaseException | None = None
    try:
        async with AsyncExitStack() as stack:
            runs, archiving = await _runs(parts, names, stack, pool, attendant)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(stop.set)
            for position, name in enumerate(names):
                host, _, port = statistics.rpartition(":")
                pages = (host.strip("[]"), int(port) + position) if statistics else None
                group.create_task(_supervise(parts, name, runs[name], stop, pages))
            try:
                yield Agents(parts, names, archiving)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised again below
                # The task group would cancel the agents; they are to stop in order, whatever ends this.
                failure = error
    except* RunEnded as ended:
        failure = _cause(ended)
    if failure is not None:
        raise failure


def _cause(ended: ExceptionGroup[RunEnded]) -> Exception:
    """Return what ended the run."""
    cause = ended.exceptions[0].__cause__
    return cause if isinstance(cause, Exception) else ended


async def _runs(
    parts: Parts,
    names: Sequence[str],
    stack: AsyncExitStack,
    pool: ParserPool | None,
    attendant: Attendant | None,
) -> tuple[dict[str, Run], Archiving | None]:
    """Make what the agents work with, importing only those that run; say how each is run."""
    attaches: dict[str, Attach] = {}
    if "track" in names:
        from agents import track

        attaches["track"] = partial(track.attach, parts=parts)
    if "index" in names:
        from agents import index

        attaches["index"] = partial(index.attach, parts=parts)
    if "inject" in names:
        attaches["inject"] = _inject(parts, stack)
    if pool is None and ("enrich" in names or ARCHIVE in names):
        pool = await stack.enter_async_context(parser_pool(parts.settings, parts.clock))
    if pool is not None and "enrich" in names:
        from agents import enrich

        attaches["enrich"] = partial(enrich.attach, parts=parts, pool=pool)
    runs: dict[str, Run] = {name: partial(_run, parts, name, attach) for name, attach in attaches.items()}
    if pool is None or ARCHIVE not in names:
        return runs, None
    from agents.archiving import Archiving

    archiving = Archiving(parts, pool, attendant)
    stack.push_async_callback(archiving.close)
    return {**runs, ARCHIVE: archiving.run}, archiving


def _inject(parts: Parts, stack: AsyncExitStack) -> Attach:
    from agents import inject
    from pipeline.hub.deleted import Deleted
    from pipeline.hub.inserts import Inserts

    prefix = parts.settings.events.prefix
    inserts = Inserts(parts.log, prefix, parts.clock)
    deleted = Deleted(parts.log, prefix, parts.clock)
    stack.push_async_callback(inserts.close)
    stack.push_async_callback(deleted.close)
    return partial(inject.attach, parts=parts, inserts=inserts, deleted=deleted)


async def _supervise(parts: Parts, name: str, run: Run, stop: asyncio.Event, pages: Address | None) -> None:
    """Keep one agent running; a crash costs a pause, never a record."""
    pause_seconds = limits.CALL_BACKOFF_SECONDS
    while not stop.is_set():
        try:
            await run(stop, pages)
        except HeadraceError as error:
            metrics.AGENT_FAILED.labels(name).inc()
            count_restart(app_id(parts.settings.events.prefix, name), error)
            log.warning("agent starts again", agent=name, reason=str(error), in_seconds=pause_seconds)
        try:
            async with asyncio.timeout(pause_seconds):
                await stop.wait()
        except TimeoutError:
            pause_seconds = min(2 * pause_seconds, limits.CALL_BACKOFF_MAX_SECONDS)


async def _run(parts: Parts, name: str, attach: Attach, stop: asyncio.Event, pages: Address | None) -> None:
    """Run an agent whose topics are planned."""
    counts = await parts.log.topics()
    read: list[str] = import_module(f"agents.{name}").topics(parts)
    await run_app(
        parts,
        name,
        attach,
        stop,
        where=where(parts.settings),
        group=app_id(parts.settings.events.prefix, name),
        partitions=max((counts.get(topic, 1) for topic in read), default=1),
        pages=pages,
    )
