"""The commands of `houseutils` that try an archive and put it in order."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli import output
from pipeline.cli.archive_options import Quiet, end
from pipeline.housekeeping import options as given
from pipeline.housekeeping.config import Config
from pipeline.housekeeping.opened import OnArchive


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("publish")(publish_tests)
    app.command("clean_tests")(clean_tests)
    app.command("clean_duplicates")(clean_duplicates)
    app.command("migrate")(migrate)


def publish_tests(
    context: typer.Context,
    *,
    source: given.Source = None,
    database: given.Database = None,
    store: given.Store = None,
    ask: Annotated[bool, typer.Option("--ask", "-a", help="Ask before each message.")] = False,
    clean: Annotated[bool, typer.Option("--clean", "-c", help="First do what clean_tests does.")] = False,
) -> None:
    """Send the known test data to the test topic, and the end marker after it.

    Example: houseutils publish -H hop-local
    """
    from pipeline.housekeeping import publish

    config = given.utility_config(context, source=source, database=database, store=store)
    scratch = given.scratch_of(context)
    if clean:
        _clean(config, OnArchive(config, scratch, all_copies=True), quiet=False)
    publish.publish(config, publish.ask if ask else None)


def clean_tests(
    context: typer.Context,
    *,
    source: given.Source = None,
    database: given.Database = None,
    store: given.Store = None,
    quiet: Quiet = False,
) -> None:
    """Delete the test topic from the archive, and acknowledge what it still holds at the broker.

    Example: houseutils clean_tests -H hop-local -D local-db -S local-store -q
    """
    config = given.utility_config(context, source=source, database=database, store=store)
    scratch = given.scratch_of(context)
    _clean(config, OnArchive(config, scratch, all_copies=True), quiet=quiet)


def clean_duplicates(
    context: typer.Context,
    *,
    database: given.Database = None,
    store: given.Store = None,
    count_only: Annotated[bool, typer.Option("--count_only", "-c", help="Delete nothing.")] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-l", metavar="N", min=1, help="At most so many of each sort.")
    ] = 20,
    quiet: Quiet = False,
) -> None:
    """Delete rows that repeat an older one, and the objects only they point to.

    Example: houseutils clean_duplicates -D local-db -S local-store -c
    """
    from pipeline.cli import archive_output

    config = given.utility_config(context, database=database, store=store)
    on = OnArchive(config, given.scratch_of(context), all_copies=True)
    end(archive_output.clean_duplicates(on, count_only=count_only, limit=limit, quiet=quiet))


def migrate(context: typer.Context, *, database: given.Database = None) -> None:
    """Bring the tables up to date, from either generation of the archive.

    Example: houseutils migrate -D local-db
    """
    from pipeline.cli import archive_output

    config = given.utility_config(context, database=database)
    on = OnArchive(config, given.scratch_of(context), migrate=False, uses=())
    end(archive_output.migrate(on))


def _clean(config: Config, on: OnArchive, *, quiet: bool) -> None:
    """Delete the test topics, then read them dry; ends the command when the answer is no."""
    from pipeline.cli import archive_output
    from pipeline.housekeeping import mock_source, publish

    topics = [name for name in (config.text("hop-test-topic"), mock_source.TOPIC) if name]
    end(archive_output.clean_tests(on, topics, quiet=quiet))
    read = publish.read_dry(config)
    output.note(f"houseutils: acknowledged at the broker: {read}")
