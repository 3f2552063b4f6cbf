"""The Faust app of one agent: made as the settings say, watched while it runs, ended in order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from pipeline import limits
from pipeline.app import Parts
from pipeline.log.location import Where
from pipeline.log.transport.app import App, create_app, embedded_broker, kafka_broker
from pipeline.log.transport.watchdog import Watchdog

log = structlog.get_logger(__name__)

SINKS = ("index", "archive", "inject")
"""Agents nobody waits for between two records: they write in batches."""
Attach = Callable[[App], None]
Address = tuple[str, int]


class RunEnded(Exception):
    """The run is over, and why is its cause: starting the agent again would end it again."""


async def run_app(
    parts: Parts,
    name: str,
    attach: Attach,
    stop: asyncio.Event,
    *,
    where: Where,
    group: str,
    partitions: int,
    pages: Address | None = None,
    before_end: Callable[[], Awaitable[None]] | None = None,
    **settings: Any,
) -> None:
    """Run one agent's app until `stop` is set; then end it in order.

    Args:
        parts: Opened parts.
        name: Name of the agent.
        attach: Adds the agent to the app.
        stop: Ends it.
        where: The log it reads.
        group: Its consumer group.
        partitions: Partitions of its topics, so that the changelogs of its tables get as many.
        pages: Where Faust's statistics pages are served, if anywhere.
        before_end: Lets what is under way settle, see `App.run`.
        settings: Any other setting of Faust.

    Raises:
        HeadraceError: It could not start, or crashed; nothing unacknowledged was committed.
    """
    app = create_app(
        group,
        embedded_broker(where.folder)
        if where.folder
        else kafka_broker(where.connection.bootstrap_servers if where.connection else ()),
        data_folder=parts.settings.data_folder,
        partitions=partitions,
        linger_seconds=limits.SINK_LINGER_SECONDS if name in SINKS else 0.0,
        replicas=parts.settings.events.replicas,
        connection=where.connection,
        **_session(where.session_seconds),
        **await asyncio.to_thread(_pages, name, pages),
        **settings,
    )
    attach(app)
    changelogs = app.changelogs()
    if changelogs:
        await parts.log.create_topics(changelogs)
    watching = asyncio.create_task(Watchdog(app, parts.clock).run())
    try:
        await app.run(stop, before_end)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


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
