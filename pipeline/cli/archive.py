"""headrace archive: look at what was archived, audit it, put it in order, play it back."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli import archive_announce, archive_gaps, archive_tidying, archive_user, output
from pipeline.cli.archive_options import Crc, SettingsArchive, end

# What prints loads the database's and the store's libraries, so each command loads it for itself.


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Look at what was archived, audit it, put it in order, play it back.",
    )
    group.command("status")(status)
    group.command("verify")(verify)
    group.command("audit-store")(audit_store)
    group.command("inspect")(inspect)
    group.command("uuids")(uuids)
    group.command("parked")(parked)
    archive_gaps.register(group)
    archive_tidying.register(group)
    archive_announce.register(group)
    archive_user.register(group)
    app.add_typer(group, name="archive")


def status(
    context: typer.Context, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """Print what is archived by topic: since the start, in the last day, in the last hour.

    Example: headrace archive status
    """
    from pipeline.cli import archive_output

    end(archive_output.status(SettingsArchive(context, data), as_json=as_json))


def verify(
    context: typer.Context,
    *,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="All messages, not 100 by chance.")
    ] = False,
    crc: Crc = False,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Compare messages' rows with their objects, and with the backup's where there is one.

    Exit code 1 when one is lost, of another size or, with --crc, damaged.

    Example: headrace archive verify --all --crc
    """
    from pipeline.cli import archive_output

    on = SettingsArchive(context, data)
    end(archive_output.verify(on, everything=everything, crc=crc, as_json=as_json))


def audit_store(
    context: typer.Context,
    *,
    topic: Annotated[str, typer.Option("--topic", metavar="T", help="One topic; all without it.")] = "",
    year_month: Annotated[
        str, typer.Option("--month", metavar="YEAR[/MONTH]", help="Only messages of then, e.g. 2024/3.")
    ] = "",
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Look for objects without a row, of another size, with several versions, and for unfinished packs.

    Exit code 1 when there are any.

    Example: headrace archive audit-store --month 2024/3
    """
    from pipeline.cli import archive_output

    on = SettingsArchive(context, data)
    end(archive_output.verify_store_to_db(on, topic=topic, year_month=year_month, as_json=as_json))


def inspect(
    context: typer.Context,
    uuid: Annotated[str, typer.Argument(metavar="UUID", help="Uuid of the message.")],
    *,
    write: Annotated[
        bool, typer.Option("--write", "-w", help="Write its document to <uuid>.bson.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Print one archived message: where it lies, payload, headers, annotations.

    Exit code 1 when there is none of that uuid, or it is damaged; what can be read is printed all the same.

    Example: headrace archive inspect 01234567-89ab-4cde-8f01-23456789abcd --write
    """
    from pipeline.cli import archive_output

    on = SettingsArchive(context, data)
    end(archive_output.inspect(on, uuid, write=write, quiet=quiet, as_json=as_json))


def uuids(
    context: typer.Context,
    where: Annotated[
        str,
        typer.Argument(metavar="WHERE", help="SQL over the table messages: where …, order by …, limit …"),
    ],
    *,
    data: output.DataFolder = None,
    as_json: output.AsJson = False,
) -> None:
    """Print the uuids of the rows a WHERE clause chooses; nothing can be changed by it.

    Example: headrace archive uuids "where topic = 'gcn.notice' order by timestamp desc limit 5"
    """
    from pipeline.cli import archive_output

    end(archive_output.uuids(SettingsArchive(context, data), where, as_json=as_json))


def parked(
    context: typer.Context, *, data: output.DataFolder = None, as_json: output.AsJson = False
) -> None:
    """List the messages that could not be stored, newest first, with the reason.

    Example: headrace archive parked
    """
    from pipeline.cli import archive_output

    end(archive_output.parked(SettingsArchive(context, data), as_json=as_json))
