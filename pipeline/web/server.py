"""Serving the web surface: on an address of the network, or on a local socket for one command."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from pipeline import __version__, limits
from pipeline.app import Parts
from pipeline.errors import Conflict
from pipeline.identify.pool import ParserPool
from pipeline.web import presence
from pipeline.web.application import make_application
from pipeline.web.context import SHARING

log = structlog.get_logger(__name__)


def _is_ours(record: logging.LogRecord) -> bool:
    """Say whether a line of aiohttp is about us: what is no HTTP is answered with 400, and no news."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


_http_log = logging.getLogger(f"{__name__}.http")
_http_log.addFilter(_is_ours)


@asynccontextmanager
async def serve(parts: Parts, listen: str, pool: ParserPool | None = None) -> AsyncIterator[str]:
    """Serve opened parts on ``host:port`` (port 0: any free one); give the URL, stop on leaving.

    While it runs, ``<data>/server.json`` tells commands where it is. On leaving, requests under way get
    `limits.WEB_STOP_SECONDS` to finish. `pool` are parser processes to share.

    Raises:
        Conflict: The address is taken or not ours.
    """
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    async with _running(parts, pool) as runner:
        site = web.TCPSite(runner, host, int(port))
        try:
            await site.start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise Conflict(f"listen on {listen}", reason, "choose another address with --listen") from error
        note = presence.Presence(_url(runner, host), os.getpid(), __version__)
        log.debug("listening", url=note.url)
        runner.app[SHARING].start(parts.settings.hub.advertise or _url_for_others(runner, host))
        async with _announced(parts.settings.data_folder, note):
            yield note.url


@asynccontextmanager
async def _announced(folder: Path, note: presence.Presence) -> AsyncIterator[None]:
    """Leave the note while the block runs; where it cannot be left, commands need the setting `api`."""
    try:
        await asyncio.to_thread(presence.announce, folder, note)
    except OSError as error:
        log.warning("commands will not find this server", folder=str(folder), reason=str(error))
    try:
        yield
    finally:
        await asyncio.to_thread(presence.withdraw, folder, note)


@asynccontextmanager
async def serve_socket(parts: Parts, path: Path) -> AsyncIterator[None]:
    """Serve opened parts on a Unix socket, seen by nobody who cannot open the file."""
    async with _running(parts) as runner:
        await web.UnixSite(runner, str(path)).start()
        yield


@asynccontextmanager
async def _running(parts: Parts, pool: ParserPool | None = None) -> AsyncIterator[web.AppRunner]:
    runner = web.AppRunner(
        make_application(parts, pool),
        access_log=None,
        logger=_http_log,
        keepalive_timeout=limits.WEB_HEADER_IDLE_SECONDS,
        max_line_size=limits.WEB_LINE_MAX_BYTES,
        max_field_size=limits.WEB_LINE_MAX_BYTES,
        max_headers=limits.WEB_HEADERS_MAX,
        lingering_time=limits.WEB_LINGER_SECONDS,
        read_bufsize=limits.CHUNK_BYTES,
        shutdown_timeout=limits.WEB_STOP_SECONDS,
        auto_decompress=False,
    )
    try:
        await runner.setup()
        yield runner
    finally:
        # Before it cleans up: from then on aiohttp drops what comes in, and with it the word of other
        # processes that the answers to what they passed on have been received.
        await runner.app[SHARING].close()
        await runner.cleanup()


def _url_for_others(runner: web.AppRunner, host: str) -> str:
    """Name the address for other processes: where it is any of this machine's, by the machine's name."""
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared, not listened on
        return f"http://{socket.gethostname()}:{runner.addresses[0][1]}"
    return _url(runner, host)


def _url(runner: web.AppRunner, host: str) -> str:
    """Name the address from this machine; all addresses are reached over the loopback one."""
    port = runner.addresses[0][1]
    if host in {"", "0.0.0.0"}:  # noqa: S104 - compared, not listened on
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
