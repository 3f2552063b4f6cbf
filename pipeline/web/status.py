"""What is running: the parts, the agents, the tasks; for people, and for probes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from pipeline import __version__, limits
from pipeline.app import Parts
from pipeline.errors import HeadraceError
from pipeline.index.query import Query
from pipeline.web.answers import answer
from pipeline.web.backlog import AgentLag, Backlog
from pipeline.web.context import backlog_of, parts_of, tables_of
from pipeline.web.routes import Nothing, Route, asked
from pipeline.web.tables import Tables


class PartState(msgspec.Struct, frozen=True):
    """Whether one part answers."""

    part: str
    kind: str
    """What it is: ``kafka``, ``s3``; never its address."""
    ok: bool
    seconds: float
    why: str = ""
    """Why not."""


class Status(msgspec.Struct, frozen=True):
    """Everything that runs."""

    version: str
    ready: bool
    parts: list[PartState]
    agents: list[AgentLag]
    """Empty when the log does not answer."""
    tasks: dict[str, int]
    """Tasks in flight by state."""
    parked: int
    plugins: list[str]
    sources: list[str]
    remarks: list[str]


class Health(msgspec.Struct, frozen=True):
    """This process is alive."""

    ok: bool
    version: str


class Readiness(msgspec.Struct, frozen=True):
    """Whether work sent here will be done."""

    ready: bool
    parts: list[PartState]
    stalled: list[str]
    """Agents that stand still with work before them."""


async def parts_state(parts: Parts) -> list[PartState]:
    """Probe every part at the same time, each for at most `limits.PROBE_SECONDS`."""
    settings = parts.settings
    probes: tuple[tuple[str, str, Callable[[], Awaitable[Any]]], ...] = (
        ("log", settings.log, parts.log.topics),
        ("objects", settings.objects, lambda: parts.objects.stat("probe")),
        ("database", settings.database, parts.database.ping),
        ("index", settings.index, lambda: parts.index.search("plugin", Query(limit=1))),
    )
    return list(await asyncio.gather(*(_probe(name, url, probe) for name, url, probe in probes)))


async def _probe(name: str, url: str, probe: Callable[[], Awaitable[Any]]) -> PartState:
    started = time.perf_counter()
    why = ""
    try:
        async with asyncio.timeout(limits.PROBE_SECONDS):
            await probe()
    except HeadraceError as error:
        why = str(error)
    except TimeoutError:
        why = f"no answer within {limits.PROBE_SECONDS:g} s"
    kind = url.partition(":")[0].partition("+")[0]
    return PartState(name, kind, not why, round(time.perf_counter() - started, 4), why)


async def agents_state(backlog: Backlog) -> list[AgentLag]:
    """Look at every agent; none when the log does not answer, which the parts tell already."""
    try:
        async with asyncio.timeout(limits.PROBE_SECONDS):
            return await backlog.agents()
    except (HeadraceError, TimeoutError):
        return []


async def status_of(parts: Parts, tables: Tables, backlog: Backlog) -> Status:
    """Gather everything that runs; never raises because of a part that is down."""
    states, agents, _ = await asyncio.gather(
        parts_state(parts), agents_state(backlog), tables.try_refresh()
    )
    tasks, parked = await tables.tasks(), await tables.parked()
    return Status(
        version=__version__,
        ready=_ready(states, agents),
        parts=states,
        agents=agents,
        tasks=dict(Counter(task.state for task in tasks)),
        parked=len(parked),
        plugins=sorted(tables.plugins()),
        sources=sorted(parts.sources),
        remarks=tables.remarks(),
    )


def _ready(states: list[PartState], agents: list[AgentLag]) -> bool:
    return all(state.ok for state in states) and not any(agent.stalled for agent in agents)


async def get_status(request: web.Request) -> web.Response:
    """Answer everything that runs."""
    asked(request, Nothing)
    return answer(await status_of(parts_of(request), tables_of(request), backlog_of(request)))


async def healthz(request: web.Request) -> web.Response:
    """Answer as long as this process can."""
    asked(request, Nothing)
    return answer(Health(ok=True, version=__version__))


async def readyz(request: web.Request) -> web.Response:
    """Answer 200 when every part answers and no agent stands still, else 503."""
    asked(request, Nothing)
    states, agents = await asyncio.gather(parts_state(parts_of(request)), agents_state(backlog_of(request)))
    ready = _ready(states, agents)
    readiness = Readiness(ready, states, [agent.agent for agent in agents if agent.stalled])
    return answer(readiness, status=200 if ready else 503)


ROUTES = (
    Route(
        methods=("GET",),
        path="/api/status",
        handler=get_status,
        summary="What is running",
        tag="status",
        answer=Status,
    ),
    Route(
        methods=("GET", "HEAD"),
        path="/healthz",
        handler=healthz,
        summary="Whether this process is alive",
        tag="status",
        answer=Health,
    ),
    Route(
        methods=("GET", "HEAD"),
        path="/readyz",
        handler=readyz,
        summary="Whether every part answers and the agents move on",
        text="503 with the same body when not.",
        tag="status",
        answer=Readiness,
        also=(503,),
    ),
)
