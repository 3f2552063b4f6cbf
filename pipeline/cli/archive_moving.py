"""What the commands print that go through many archived messages: restore, repack, reindex.

For `headrace archive` and `houseutils` alike, as `pipeline.cli.archive_output`, with a bar on terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal

import msgspec
import typer

from pipeline.archive.archive import Archive
from pipeline.archive.restore import restore as restoring
from pipeline.archive.restore.report import Options, Progress, Report, Selection
from pipeline.archive.source.policies import make_policy
from pipeline.archive.storing.repack import Repacked
from pipeline.archive.storing.repack import repack as run_repack
from pipeline.archive.text import index as text_index
from pipeline.archive.text.text import Texts
from pipeline.cli import output
from pipeline.cli.archive_elsewhere import elsewhere
from pipeline.cli.archive_output import OnArchive
from pipeline.cli.archive_tables import counting
from pipeline.identify.pool import parser_pool
from pipeline.log.port import Log

Destination = Callable[[], AbstractAsyncContextManager[Log]]
"""Opens the log messages go to, for as long as its block runs."""


def restore(
    on: OnArchive,
    destination: Destination,
    selection: Selection,
    options: Options,
    *,
    as_json: bool = False,
) -> int:
    """Play messages back into a log and print what was done.

    0 when all of them are there and, where that was asked, equal.
    """

    async def work(archive: Archive) -> Report:
        with counting("looking", None) as bar:

            def show(progress: Progress) -> None:
                bar.update(
                    bar.task_ids[0],
                    description=progress.stage,
                    completed=progress.messages,
                    total=progress.messages_total or None,
                )

            settings = await on.settings()
            async with destination() as log:
                return await restoring.restore(
                    archive, log, selection, options, progress=show, elsewhere=elsewhere(settings, log)
                )

    report = on(work)
    if as_json:
        output.print_json(msgspec.to_builtins(report))
    else:
        _print_report(report)
    return report.exit_status


def _print_report(report: Report) -> None:
    for warning in report.warnings:
        output.note(warning)
    for failure in report.failures:
        output.note(f"{failure.uuid}: {failure.reason}")
    verb = "would be sent" if report.dry_run else "sent"
    number = report.selected - report.failed if report.dry_run else report.sent
    typer.echo(f"{number:,} of {report.selected:,} messages {verb} to {output.safe(report.destination)}")
    rows = [(each.topic, each.partition, each.messages, each.first, each.end) for each in report.delivered]
    output.print_rows(("topic", "partition", "messages", "first", "end"), rows)
    if report.verified is not None:
        for difference in report.verified.differences:
            place = f"{difference.topic}/{difference.partition}/{difference.offset}"
            typer.echo(f"{output.safe(place)}: {output.safe(difference.what)}")
        typer.echo("equal" if report.verified.equal else "not equal ***")
    if not report.complete and not report.dry_run:
        output.note("not complete; run it again with its journal")


def repack(
    on: OnArchive,
    *,
    to: Literal["packs", "objects"],
    topics: Sequence[str] = ("*",),
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Move messages into packs or out of them and print how many; nothing of them changes."""

    async def work(archive: Archive) -> Repacked:
        chosen = (await on.settings()).archive
        return await run_repack(
            archive,
            to=to,
            topics=topics,
            pack_records=chosen.pack_records,
            pack_bytes=chosen.pack_bytes,
            concurrency=chosen.concurrency,
            dry_run=dry_run,
        )

    found = on(work)
    if as_json:
        output.print_json(found._asdict())
        return 0
    verb = "would be moved" if dry_run else "moved"
    typer.echo(
        f"{found.messages:,} messages {verb}, from {found.objects_before:,} objects"
        f" to {found.objects_after:,}, {output.size(found.size_bytes)}"
    )
    if found.skipped:
        output.note(f"{found.skipped:,} stay where they are: see headrace archive verify")
    return 0


def reindex(
    on: OnArchive,
    *,
    start_ms: int | None = None,
    partial: bool = False,
    topics: Sequence[str] = (),
    as_json: bool = False,
) -> int:
    """Give a text to the messages that have none and print how many there were."""

    async def work(archive: Archive) -> text_index.Reindexed:
        settings = await on.settings()
        policy = make_policy(settings, archive.clock)
        await policy.refresh()
        with counting("messages", None) as bar:

            def show(found: text_index.Reindexed) -> None:
                bar.update(bar.task_ids[0], completed=found.looked_at)

            async with parser_pool(settings, archive.clock) as pool:
                texts = Texts.chosen(policy, pool.texts, settings.archive)
                return await text_index.reindex(
                    archive,
                    texts,
                    pool.media_types,
                    start_time_ms=start_ms,
                    partial=partial,
                    only_topics=topics,
                    progress=show,
                )

    found = on(work)
    if as_json:
        output.print_json(msgspec.to_builtins(found))
        return 0
    typer.echo(
        f"{found.indexed:,} of {found.looked_at:,} messages have a text now, {found.fully:,} all of it"
    )
    if found.damaged:
        output.note(f"{found.damaged:,} cannot be read: see headrace archive verify --crc")
    return 0
