"""headrace reprocess: events of another prefix into the current one. Contract: dispatcher section 24."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.cli import output
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.errors import SettingError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.app import Parts
    from pipeline.hub.reprocess import Tally

_Names = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("reprocess")(reprocess)


def reprocess(
    context: typer.Context,
    *,
    from_prefix: Annotated[str | None, typer.Option(help="Topic prefix to copy from.")] = None,
    sources: Annotated[bool, typer.Option("--sources", help="Copy the topics of the sources.")] = False,
    system: Annotated[bool, typer.Option("--system", help="Copy system topics.")] = False,
    include_system: Annotated[
        _Names, typer.Option(metavar="NAME", help="System topics whose names begin so; repeat.")
    ] = None,
    deny: Annotated[_Names, typer.Option(metavar="TOPIC", help="Leave out this topic; repeat.")] = None,
    legacy_json: Annotated[
        bool | None, typer.Option("--legacy-json", help="Take JSON older than any known version too.")
    ] = None,
    pause_plugins: Annotated[bool, typer.Option(help="Hand out no tasks meanwhile.")] = True,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until stopped.")] = False,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve Prometheus metrics there.")
    ] = None,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Copy the events of another topic prefix into the current one, upgraded and under keys computed anew.

    A run that was interrupted goes on where it was. Records that cannot be read are logged, counted and
    skipped. The topics of the current prefix are made first.

    Example: headrace -s events.prefix=new reprocess --from-prefix old --sources
    """
    chosen = {"reprocess__sources": sources, "reprocess__system": system} if sources or system else {}
    settings = settings_of(
        context,
        data=str(data) if data else None,
        reprocess__from_prefix=from_prefix,
        reprocess__include_system=include_system or None,
        reprocess__deny_topics=deny or None,
        reprocess__legacy_json=legacy_json,
        **chosen,
    )
    shown = Shown()
    try:
        run_loop(_reprocess(settings, shown, pause_plugins=pause_plugins, follow=follow, metrics=metrics))
    except KeyboardInterrupt:
        if not follow:  # being stopped is how following ends well
            raise
    finally:
        shown.end(as_json=as_json)


async def _reprocess(
    settings: Settings, shown: Shown, *, pause_plugins: bool, follow: bool, metrics: str | None
) -> None:
    from pipeline.cli.alone import log_alone
    from pipeline.hub.reprocess import Reprocessor, Selection
    from pipeline.topic_changes import prepare_topics

    async with AsyncExitStack() as stack:
        if metrics:
            await stack.enter_async_context(_metrics_served(metrics))
        parts = await stack.enter_async_context(log_alone(settings))
        ignore = settings.events.ignore_topic_mismatch
        await prepare_topics(parts.log, parts.topics, ignore_mismatch=ignore)
        await Reprocessor(
            parts.log,
            settings.events.prefix,
            Selection(**settings.reprocess.model_dump()),
            parts.clock,
            told=shown.show,
            pause=partial(write_pause, parts) if pause_plugins else None,
        ).run(follow=follow)


async def write_pause(parts: Parts) -> None:
    """Keep plugins paused for the next minutes (dispatcher contract, section 14)."""
    from pipeline.hub.notices import Notices

    await Notices(parts.log, parts.settings.events.prefix, parts.clock).pause()


@asynccontextmanager
async def _metrics_served(address: str) -> AsyncIterator[None]:
    """Serve the metrics while the block runs.

    Raises:
        SettingError: It is no address, or not one of ours to listen on.
    """
    from aiohttp import web

    from pipeline.web import exposition

    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise SettingError(f"--metrics {address}", "it is no address", "host:port")
    application = web.Application()
    application.router.add_get("/metrics", exposition.metrics)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        except OSError as error:
            raise SettingError(f"--metrics {address}", error.strerror or str(error)) from error
        yield
    finally:
        await runner.cleanup()


class Shown:
    """What is seen of a run: a bar on a terminal, the counts at its end."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._bar = self._progress.add_task("records", total=None)
        self._tally: Tally | None = None

    def show(self, tally: Tally) -> None:
        """Move the bar."""
        self._tally = tally
        self._progress.start()
        self._progress.update(self._bar, completed=tally.done, total=tally.total)

    def end(self, *, as_json: bool) -> None:
        """Take the bar away and print what was copied, by topic."""
        self._progress.stop()
        if self._tally is None:
            return
        copied, skipped = self._tally.copied, self._tally.skipped
        if as_json:
            output.print_json({"copied": copied, "skipped": skipped})
            return
        rows = [(topic, copied[topic], skipped[topic]) for topic in sorted({*copied, *skipped})]
        output.print_rows(("topic", "copied", "skipped"), rows)
        output.note(f"{copied.total()} copied, {skipped.total()} skipped")
