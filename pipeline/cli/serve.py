"""headrace up, worker, api: the processes that stay.

``up`` is everything in one process on the embedded parts; ``worker`` and ``api`` are its two halves, to be
started as often as needed over the servers the settings name. All wait for parts that are down and end in
order, with exit code 0, on SIGINT and SIGTERM.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import output
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.settings import Settings

if TYPE_CHECKING:
    from headrace.plugin import Plugin

Listen = Annotated[
    str | None, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen instead of web.listen.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up")(up)
    app.command("worker")(worker)
    app.command("api")(api)


def up(
    context: typer.Context,
    *,
    data: output.DataFolder = None,
    listen: Listen = None,
    plugins: Annotated[
        list[str] | None,
        typer.Option("--plugin", metavar="MODULE:NAME", help="Run this plugin too; repeatable."),
    ] = None,
) -> None:
    """Run everything in one process until stopped: agents, tables, HTTP surface, and the plugins asked for.

    Example: headrace up --data ./data --listen 127.0.0.1:8111
    """
    settings = settings_of(
        context, data=str(data) if data else None, web__listen=listen, plugins=plugins or None
    )
    _until_stopped(_serve(settings, agents=True, web=True, plugins=settings.plugins))


def worker(
    context: typer.Context,
    *,
    agents: Annotated[
        str | None, typer.Option("--agents", metavar="A,B", help="Only these agents, e.g. enrich,index.")
    ] = None,
    data: output.DataFolder = None,
) -> None:
    """Run agents until stopped; start more of them to share the work.

    Example: headrace worker --agents index,archive
    """
    chosen = agents.split(",") if agents else None
    settings = settings_of(context, data=str(data) if data else None, worker__agents=chosen)
    _until_stopped(_serve(settings, agents=True, web=False))


def api(context: typer.Context, *, data: output.DataFolder = None, listen: Listen = None) -> None:
    """Run the HTTP surface until stopped.

    Example: headrace api --listen 127.0.0.1:8111
    """
    settings = settings_of(context, data=str(data) if data else None, web__listen=listen)
    _until_stopped(_serve(settings, agents=False, web=True))


def _until_stopped(process: Coroutine[Any, Any, None]) -> None:
    """Run to the signal that ends it; being stopped is how these processes end well."""
    with suppress(KeyboardInterrupt):
        run_loop(process)


async def _serve(settings: Settings, *, agents: bool, web: bool, plugins: Sequence[str] = ()) -> None:
    from agents.run import running
    from pipeline.age_off import aging
    from pipeline.app import make_parts, open_parts
    from pipeline.identify.pool import parser_pool
    from pipeline.web.server import serve

    found = _find(plugins)  # one that is not there is told before anything starts
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_parts(make_parts(settings), wait=True))
        # In one process the agents and the web surface share the parser processes.
        pool = (
            await stack.enter_async_context(parser_pool(settings, parts.clock)) if agents and web else None
        )
        if agents:
            statistics = settings.worker.stats_listen
            working = await stack.enter_async_context(running(parts, pool=pool, statistics=statistics))
            if settings.worker.listen and not web:
                from pipeline.web.worker import serve_worker

                await stack.enter_async_context(
                    serve_worker(parts, working.trouble, settings.worker.listen)
                )
        if web:
            await stack.enter_async_context(aging(parts))
            url = await stack.enter_async_context(serve(parts, settings.web.listen, pool))
            output.note(f"headrace: {url}/")
            if found:
                from headrace import beside

                await stack.enter_async_context(beside.running(found, url, parts.clock))
        await asyncio.get_running_loop().create_future()


def _find(names: Sequence[str]) -> list[Plugin]:
    if not names:
        return []
    from headrace.find import find_all

    return find_all(names)
