"""The commands of `houseutils` that change nothing: what is archived, and whether it is right."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from pipeline.cli import output
from pipeline.cli.archive_options import Crc, end
from pipeline.cli.output import AsJson
from pipeline.housekeeping import options as given
from pipeline.housekeeping.opened import OnArchive


class Installation(StrEnum):
    """Which archiver in Kubernetes."""

    prod = "prod"
    devel = "devel"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("connect")(connect)
    app.command("status")(status)
    app.command("verify")(verify)
    app.command("verify_db_to_store")(verify_db_to_store)
    app.command("verify_store_to_db")(verify_store_to_db)
    app.command("inspect")(inspect)
    app.command("uuids")(uuids)
    app.command("parked")(parked)
    app.command("db_logs")(db_logs)
    app.command("kube_logs")(kube_logs)


def connect(context: typer.Context, *, database: given.Database = None) -> None:
    """Open an SQL shell on the database.

    Example: houseutils connect -D local-db
    """
    from pipeline.housekeeping.connect import connect as become

    become(given.utility_config(context, database=database))


def status(context: typer.Context, *, database: given.Database = None, as_json: AsJson = False) -> None:
    """Print what is archived: since the start, in the last day and hour, the newest, what is parked.

    Example: houseutils status -D local-db
    """
    from pipeline.cli import archive_output

    on = given.on_archive(context, database=database)
    end(archive_output.status(on, as_json=as_json))


def verify(
    context: typer.Context,
    *,
    database: given.Database = None,
    store: given.Store = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="All rows, not 100 random ones.")] = False,
    crc: Crc = False,
    other_way: Annotated[
        bool, typer.Option("--store", help="Look for objects that no row describes instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare rows with their objects; status 1 when one is anomalous.

    Example: houseutils verify -D local-db -S local-store -a
    """
    from pipeline.cli import archive_output

    on = given.on_archive(context, database=database, store=store)
    if other_way:
        end(archive_output.verify_store_to_db(on, as_json=as_json))
    else:
        end(archive_output.verify(on, everything=everything, crc=crc, as_json=as_json))


def verify_db_to_store(
    context: typer.Context,
    *,
    database: given.Database = None,
    store: given.Store = None,
    topic: Annotated[
        str, typer.Option("--topic", "-t", metavar="LIKE", help="Topics, as in SQL LIKE.")
    ] = "%",
    sample: Annotated[bool, typer.Option("--sample", "-s", help="100 random rows.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print good ones too.")] = False,
    crc: Crc = False,
) -> None:
    """Compare the rows of topics with their objects; status 1 when one is anomalous.

    Example: houseutils verify_db_to_store -D local-db -S local-store -t 'gcn.%'
    """
    from pipeline.cli import archive_output

    on = given.on_archive(context, database=database, store=store)
    end(archive_output.verify_db_to_store(on, like=topic, sample=sample, verbose=verbose, crc=crc))


def verify_store_to_db(
    context: typer.Context,
    *,
    database: given.Database = None,
    store: given.Store = None,
    topic: Annotated[
        str, typer.Option("--topic", "-t", metavar="TOPIC", help="Only this topic; without it all.")
    ] = "",
    year_month: Annotated[
        str, typer.Option("--year_month", "-y", metavar="YEAR/MONTH", help="Only this month, e.g. 2024/3.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Look for objects without a row, of another size, or with versions; status 1 when there are any.

    Example: houseutils verify_store_to_db -D local-db -S local-store -y 2024/3
    """
    from pipeline.cli import archive_output

    on = given.on_archive(context, database=database, store=store)
    end(archive_output.verify_store_to_db(on, topic=topic, year_month=year_month, as_json=as_json))


def inspect(
    context: typer.Context,
    uuid: Annotated[str, typer.Argument(metavar="UUID", help="Uuid of the message.")],
    *,
    database: given.Database = None,
    store: given.Store = None,
    write: Annotated[bool, typer.Option("--write", "-w", help="Write the object to <uuid>.bson.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print an archived message.

    Example: houseutils inspect -D local-db -S local-store 01234567-89ab-4cde-8f01-23456789abcd
    """
    from pipeline.cli import archive_output

    on = given.on_archive(context, database=database, store=store)
    end(archive_output.inspect(on, uuid, write=write, quiet=quiet, as_json=as_json))


def uuids(
    context: typer.Context,
    where: Annotated[
        str, typer.Argument(metavar="WHERE", help="What follows the table in SQL; it begins with where.")
    ],
    *,
    database: given.Database = None,
    as_json: AsJson = False,
) -> None:
    """Print the uuids of the rows a WHERE clause chooses, one a line.

    Example: houseutils uuids -D local-db "where topic = 'gcn.notice' order by id limit 5"
    """
    from pipeline.cli import archive_output

    on = given.on_archive(context, database=database)
    end(archive_output.uuids(on, where, as_json=as_json))


def parked(context: typer.Context, *, database: given.Database = None, as_json: AsJson = False) -> None:
    """List the messages that could not be stored, with the reason.

    Example: houseutils parked -D local-db
    """
    from pipeline.cli import archive_output

    end(archive_output.parked(given.on_archive(context, database=database), as_json=as_json))


def db_logs(context: typer.Context, *, database: given.Database = None) -> None:
    """Print recent logs of the database; where they cannot be read, what the archive has parked.

    Example: houseutils db_logs -D aws-dev-db
    """
    from pipeline.cli import archive_output
    from pipeline.housekeeping.server_logs import database_logs

    config, scratch = given.utility_config(context, database=database), given.scratch_of(context)
    found = database_logs(config, scratch)
    _print_logs(found)
    if not found:
        output.note("houseutils: the server's log cannot be read; these messages could not be stored:")
        end(archive_output.parked(OnArchive(config, scratch, uses=())))


def kube_logs(
    kind: Annotated[Installation, typer.Argument(metavar="KIND", help="prod or devel.")],
) -> None:
    """Print the log of the archiver in Kubernetes.

    Example: houseutils kube_logs prod
    """
    from pipeline.housekeeping.server_logs import pod_logs

    _print_logs(pod_logs(kind.value))


def _print_logs(logs: list[Any]) -> None:
    for name, text in logs:
        typer.echo(f"==> {output.safe(name)} <==")
        for line in text.splitlines():
            typer.echo(output.safe(line))
