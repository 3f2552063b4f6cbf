"""The commands of `headrace archive` that change something: delete, migrate, index, move, play back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import archive_options as given
from pipeline.cli import output
from pipeline.cli.archive_options import DryRun, Quiet, SettingsArchive, Topics, end, moment, uuid_of
from pipeline.cli.state import settings_of

if TYPE_CHECKING:
    from pipeline.log.port import Log


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command("clean-tests")(clean_tests)
    group.command("clean-duplicates")(clean_duplicates)
    group.command("migrate")(migrate)
    group.command("reindex")(reindex)
    group.command("repack")(repack)
    group.command("restore")(restore)


def clean_tests(
    context: typer.Context,
    topics: Annotated[list[str], typer.Argument(metavar="TOPIC", help="Whole names of topics.")],
    *,
    quiet: Quiet = False,
    data: output.DataFolder = None,
) -> None:
    """Delete everything archived of topics: rows, objects, all their versions, backups. Asks first.

    Exit code 1 when the answer is no. Refused while archive.protected is set.

    Example: headrace archive clean-tests demo.archive-test mock.topic
    """
    from pipeline.cli import archive_output

    end(archive_output.clean_tests(SettingsArchive(context, data), topics, quiet=quiet))


def clean_duplicates(
    context: typer.Context,
    *,
    count_only: Annotated[bool, typer.Option("--count-only", "-c", help="Delete nothing.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, help="Delete at most so many.")] = 20,
    quiet: Quiet = False,
    data: output.DataFolder = None,
) -> None:
    """Delete messages whose topic, time and payload an older one has, whatever their headers. Asks first.

    Payloads are compared byte for byte. Exit code 1 when the answer is no.

    Example: headrace archive clean-duplicates --count-only
    """
    from pipeline.cli import archive_output

    on = SettingsArchive(context, data)
    end(archive_output.clean_duplicates(on, count_only=count_only, limit=limit, quiet=quiet))


def migrate(context: typer.Context, *, data: output.DataFolder = None) -> None:
    """Bring the tables up to date, as every start does, and print the version before and after.

    Example: headrace archive migrate
    """
    from pipeline.cli import archive_output

    end(archive_output.migrate(SettingsArchive(context, data, migrate=False)))


def reindex(
    context: typer.Context,
    *,
    topics: Topics = None,
    start: given.Start = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Also those whose text was cut or found in part.")
    ] = False,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Give a text to messages that have none, so that searches find them.

    Example: headrace archive reindex --from 2024-03-01
    """
    from pipeline.cli import archive_moving

    on = SettingsArchive(context, data)
    start_ms = moment("--from", start)
    end(
        archive_moving.reindex(on, start_ms=start_ms, partial=partial, topics=topics or (), as_json=as_json)
    )


def repack(
    context: typer.Context,
    *,
    to: given.To = given.Layout.packs,
    topics: Topics = None,
    dry_run: DryRun = False,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Move stored messages from objects of their own into packs, or back; no byte of them changes.

    Example: headrace archive repack --to packs --topic 'gcn.*' --dry-run
    """
    from pipeline.cli import archive_moving

    on = SettingsArchive(context, data)
    end(archive_moving.repack(on, to=to.value, topics=topics or ("*",), dry_run=dry_run, as_json=as_json))


def restore(
    context: typer.Context,
    *,
    topics: Topics = None,
    start: given.Start = None,
    stop: given.Stop = None,
    uuids: given.Uuids = None,
    destination: Annotated[
        str | None,
        typer.Option("--destination", metavar="URL", help="Log they go to, if not the setting log."),
    ] = None,
    dest_topic: given.DestTopic = "{topic}",
    as_sent: given.AsSent = False,
    order: given.InOrder = given.Order.offset,
    partition: given.ToPartition = given.Partition.keep,
    rate: given.Rate = 0.0,
    journal: given.Journal = None,
    offset_map: Annotated[
        Path | None, typer.Option("--offset-map", metavar="FILE", help="Gets old and new offsets.")
    ] = None,
    dry_run: DryRun = False,
    verify: given.Verify = False,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Play archived messages back into a log: same keys, values, headers, times and order.

    Exit code 1 unless all of them are there and, with --verify, equal.

    Example: headrace archive restore --topic gcn.notice --dest-topic '{topic}.again' --journal gcn --verify
    """
    from pipeline.archive.restore.report import Options, Selection
    from pipeline.cli import archive_moving

    settings = settings_of(context, data=str(data) if data else None, log=destination)

    @asynccontextmanager
    async def log() -> AsyncIterator[Log]:
        from pipeline.cli.alone import log_alone

        async with log_alone(settings) as parts:
            yield parts.log

    selection = Selection(
        tuple(topics or ()),
        moment("--from", start),
        moment("--to", stop),
        tuple(uuid_of("--uuid", text) for text in uuids or ()),
    )
    options = Options(
        destination=settings.log,
        dest_topic=dest_topic,
        as_sent=as_sent,
        order=order.value,
        partition=partition.value,
        rate=rate,
        journal=journal,
        dry_run=dry_run,
        verify=verify,
        external_url=settings.archive.external_url,
        replicas=settings.events.replicas,
        offset_map=offset_map,
    )
    on = SettingsArchive(context, data)
    end(archive_moving.restore(on, log, selection, options, as_json=as_json))
