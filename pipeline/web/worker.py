"""The page of a worker that has no HTTP surface: its metrics, and whether it is alive and ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from pipeline import metrics
from pipeline.app import Parts
from pipeline.web import exposition, guard
from pipeline.web.answers import answer
from pipeline.web.problems import answer_problems
from pipeline.web.routes import Nothing, asked
from pipeline.web.status import Readiness, healthz, parts_state

log = structlog.get_logger(__name__)

Trouble = Callable[[], list[str]]
"""Says in sentences why agents do not do their work; an empty list when they do."""
_PARTS = web.AppKey("parts", Parts)
_TROUBLE: web.AppKey[Trouble] = web.AppKey("trouble")


@asynccontextmanager
async def serve_worker(parts: Parts, trouble: Trouble, listen: str) -> AsyncIterator[None]:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` on ``host:port`` while the block runs.

    Where the address is taken, as by another worker of this machine, there is no page, which stops no work.
    """
    application = web.Application(middlewares=[guard.measure, answer_problems, guard.check_origin])
    application[_PARTS] = parts
    application[_TROUBLE] = trouble
    application.router.add_get("/metrics", exposition.metrics)
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", _readyz)
    application.on_response_prepare.append(guard.add_headers)
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        except OSError as error:
            log.warning("no page of this worker", address=listen, reason=error.strerror or str(error))
        yield
    finally:
        await asyncio.shield(runner.cleanup())


async def _readyz(request: web.Request) -> web.Response:
    """Answer 200 when every part answers and the agents of this process move on, else 503."""
    asked(request, Nothing)
    states = await parts_state(request.app[_PARTS])
    stalled = [f"group {group} has work and makes no progress" for group in _stalled_groups()]
    stalled += request.app[_TROUBLE]()
    ready = all(state.ok for state in states) and not stalled
    return answer(Readiness(ready, states, stalled), status=200 if ready else 503)


def _stalled_groups() -> list[str]:
    """Name the groups whose watchdog sees no progress."""
    (family,) = metrics.AGENT_STALLED.collect()
    return [sample.labels["group"] for sample in family.samples if sample.value]
