"""The commands of `houseutils` that go through archived messages: play back, pack, give texts."""

from __future__ import annotations

from functools import partial as prepared
from typing import Annotated

import typer

from pipeline.cli import archive_options as told
from pipeline.cli.archive_options import DryRun, Topics, end, moment, uuid_of
from pipeline.cli.output import AsJson
from pipeline.housekeeping import options as given
from pipeline.housekeeping.opened import OnArchive, source_log


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("restore")(restore)
    app.command("repack")(repack)
    app.command("reindex")(reindex)


def restore(
    context: typer.Context,
    *,
    source: given.Source = None,
    database: given.Database = None,
    store: given.Store = None,
    topics: Topics = None,
    start: told.Start = None,
    stop: told.Stop = None,
    uuids: told.Uuids = None,
    dest_topic: told.DestTopic = "{topic}",
    as_sent: told.AsSent = False,
    order: told.InOrder = told.Order.offset,
    partition: told.ToPartition = told.Partition.keep,
    rate: told.Rate = 0.0,
    journal: told.Journal = None,
    dry_run: DryRun = False,
    verify: told.Verify = False,
) -> None:
    """Play archived messages back into the broker of -H, and print a report as JSON.

    Status 1 unless everything selected is there and, with --verify, equal.

    Example: houseutils restore -D local-db -S local-store -H hop-local --topic gcn.notice --journal gcn
    """
    from pipeline.archive.restore.report import Options, Selection
    from pipeline.cli import archive_moving
    from pipeline.housekeeping.source import broker_url

    config = given.utility_config(context, source=source, database=database, store=store)
    scratch = given.scratch_of(context)
    selection = Selection(
        topics=tuple(topics or ()),
        from_ms=moment("--from", start),
        to_ms=moment("--to", stop),
        uuids=tuple(uuid_of("--uuid", text) for text in uuids or ()),
    )
    options = Options(
        destination=broker_url(config),
        dest_topic=dest_topic,
        as_sent=as_sent,
        order=order.value,
        partition=partition.value,
        rate=rate,
        journal=journal,
        dry_run=dry_run,
        verify=verify,
        external_url=config.text("external-url"),
    )
    destination = prepared(source_log, config)
    end(archive_moving.restore(OnArchive(config, scratch), destination, selection, options, as_json=True))


def repack(
    context: typer.Context,
    *,
    database: given.Database = None,
    store: given.Store = None,
    to: told.To = told.Layout.packs,
    topics: Topics = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Move stored messages from objects of their own into packs, or back; no byte of them changes.

    Example: houseutils repack -D local-db -S local-store --to packs --topic 'gcn.*' --dry-run
    """
    from pipeline.cli import archive_moving

    on = given.on_archive(context, database=database, store=store)
    end(archive_moving.repack(on, to=to.value, topics=topics or ("*",), dry_run=dry_run, as_json=as_json))


def reindex(
    context: typer.Context,
    *,
    source: given.Source = None,
    database: given.Database = None,
    store: given.Store = None,
    start_time: Annotated[
        int | None, typer.Option("--start-time", metavar="MS", min=0, help="Only messages from then on.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--reindex-partial", help="Also those whose text was cut or found in part.")
    ] = False,
    topics: Topics = None,
    as_json: AsJson = False,
) -> None:
    """Give a text to messages that have none, as far as the topic policy of -H lets their text be searched.

    Example: houseutils reindex -D local-db -S local-store -H hop-local --start-time 1700000000000
    """
    from pipeline.cli import archive_moving

    config = given.utility_config(context, source=source, database=database, store=store)
    on = OnArchive(config, given.scratch_of(context), uses=("store", "policy"))
    end(
        archive_moving.reindex(
            on, start_ms=start_time, partial=partial, topics=topics or (), as_json=as_json
        )
    )
