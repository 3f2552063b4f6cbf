"""Start and stop agents in this process.

Each agent is a Faust app of its own, with its own consumer group: a slow one holds up no other, each has
its lag, and a worker may run any set of them. An agent that crashes is logged, made anew and goes on at
what it had not acknowledged.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from typing import Any

import structlog

from pipeline import limits, metrics
from pipeline.app import Parts
from pipeline.errors import HeadraceError
from pipeline.hub.changelogs import app_id
from pipeline.identify.pool import ParserPool, parser_pool
from pipeline.log.lag import lag
from pipeline.log.location import embedded_folder, kafka_connection
from pipeline.log.membership import count_restart
from pipeline.log.port import TopicPartition
from pipeline.log.transport.app import App, create_app, embedded_broker, kafka_broker
from pipeline.log.transport.watchdog import Watchdog

log = structlog.get_logger(__name__)

SINKS = ("index", "archive", "inject")
"""Agents nobody waits for between two records: they write in batches."""
Attach = Callable[[App], None]
Address = tuple[str, int]


class Agents:
    """The agents running in this process, and what of their work is left anywhere."""

    def __init__(self, parts: Parts, names: Sequence[str]) -> None:
        self._parts = parts
        self.names = tuple(names)

    async def backlog(self) -> int:
        """Return how many records these agents have not finished, counted over all workers."""
        counts = await self._parts.log.topics()
        total = 0
        for name in self.names:
            read: list[str] = import_module(f"agents.{name}").topics(self._parts)
            places = [TopicPartition(topic, n) for topic in read for n in range(counts[topic])]
            group = app_id(self._parts.settings.events.prefix, name)
            total += sum((await lag(self._parts.log, group, places)).values())
        return total


@asynccontextmanager
async def running(
    parts: Parts,
    *,
    names: Sequence[str] | None = None,
    pool: ParserPool | None = None,
    statistics: str = "",
) -> AsyncIterator[Agents]:
    """Run agents until the block is left; then stop them in order.

    Args:
        parts: Opened parts.
        names: Which ones; None for those the settings name.
        pool: Parser processes that were started earlier; None to start some when an agent needs them.
        statistics: ``host:port`` of Faust's statistics pages; the agents after the first take the next
            ports. Empty for none. Where an address is taken there are no pages, which stops no work.
    """
    names = parts.settings.worker.agents if names is None else names
    stop = asyncio.Event()
    failure: Exception | None = None
    async with AsyncExitStack() as stack:
        attaches = await _attaches(parts, names, stack, pool)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(stop.set)
        for position, name in enumerate(names):
            host, _, port = statistics.rpartition(":")
            pages = (host.strip("[]"), int(port) + position) if statistics else None
            group.create_task(_supervise(parts, name, attaches[name], stop, pages))
        try:
            yield Agents(parts, names)
        except Exception as error:  # noqa: BLE001 - raised again below; the task group would wrap it
            failure = error
    if failure is not None:
        raise failure


async def _attaches(
    parts: Parts, names: Sequence[str], stack: AsyncExitStack, pool: ParserPool | None
) -> dict[str, Attach]:
    """Make what the agents work with, importing only those that run; say how each is added to its app."""
    attaches: dict[str, Attach] = {}
    if "track" in names:
        from agents import track

        attaches["track"] = partial(track.attach, parts=parts)
    if "index" in names:
        from agents import index

        attaches["index"] = partial(index.attach, parts=parts)
    if "inject" in names:
        from agents import inject
        from pipeline.hub.deleted import Deleted
        from pipeline.hub.inserts import Inserts

        prefix = parts.settings.events.prefix
        inserts = Inserts(parts.log, prefix, parts.clock)
        deleted = Deleted(parts.log, prefix, parts.clock)
        stack.push_async_callback(inserts.close)
        stack.push_async_callback(deleted.close)
        attaches["inject"] = partial(inject.attach, parts=parts, inserts=inserts, deleted=deleted)
    if "enrich" in names or "archive" in names:
        if pool is None:
            pool = await stack.enter_async_context(parser_pool(parts.settings, parts.clock))
        if "enrich" in names:
            from agents import enrich

            attaches["enrich"] = partial(enrich.attach, parts=parts, pool=pool)
        if "archive" in names:
            from agents import archive

            writer = archive.make_writer(parts, pool)
            attaches["archive"] = partial(archive.attach, parts=parts, writer=writer)
    return attaches


async def _supervise(
    parts: Parts, name: str, attach: Attach, stop: asyncio.Event, pages: Address | None
) -> None:
    """Keep one agent running; a crash costs a pause, never a record."""
    pause_seconds = limits.CALL_BACKOFF_SECONDS
    while not stop.is_set():
        try:
            await _run(parts, name, attach, stop, pages)
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
    settings = parts.settings
    folder = embedded_folder(settings.log, settings.data_folder)
    connection = None if folder else kafka_connection(settings.log, settings.kafka)
    app = create_app(
        app_id(settings.events.prefix, name),
        embedded_broker(folder)
        if folder
        else kafka_broker(connection.bootstrap_servers if connection else ()),
        data_folder=settings.data_folder,
        partitions=await _partitions(parts, name),
        linger_seconds=limits.SINK_LINGER_SECONDS if name in SINKS else 0.0,
        replicas=settings.events.replicas,
        connection=connection,
        **_session(settings.kafka.session_seconds),
        **await asyncio.to_thread(_pages, name, pages),
    )
    attach(app)
    await parts.log.create_topics(app.changelogs())
    watching = asyncio.create_task(Watchdog(app, parts.clock).run())
    try:
        await app.run(stop)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _partitions(parts: Parts, name: str) -> int:
    """Return how many partitions the changelogs of an agent's tables need: as many as its topics have."""
    counts = await parts.log.topics()
    read: list[str] = import_module(f"agents.{name}").topics(parts)
    return max((counts.get(topic, 1) for topic in read), default=1)


def _pages(name: str, address: Address | None) -> dict[str, Any]:
    """Say in Faust's words where the statistics pages of an agent are, if anywhere."""
    if address is None:
        return {}
    host, port = address
    try:
        with socket.create_server(address, family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return {"web_port": port, "web_bind": host, "web_host": host}
    except OSError as error:
        log.warning("no statistics pages", agent=name, address=f"{host}:{port}", reason=error.strerror)
        return {}


def _session(seconds: float) -> dict[str, Any]:
    """Say in Faust's words how long a worker may be silent; means nothing to the embedded log."""
    return {
        "broker_session_timeout": seconds,
        "broker_heartbeat_interval": seconds / limits.GROUP_HEARTBEATS,
        # Faust refuses requests that end before the session does.
        "broker_request_timeout": max(
            limits.LOG_CALL_TIMEOUT_SECONDS, seconds + limits.GROUP_GRACE_SECONDS
        ),
    }
