"""What the operators' commands of the archive print and ask, for `headrace archive` and `houseutils` alike.

Every function takes `OnArchive`, which opens the archive, runs one piece of work on it and closes it
again: questions are asked in between, when nothing is open. Each returns the exit code of its command, 0 or
1. Results go to standard output, everything else to standard error. `pipeline.cli.archive_moving` has the
commands that move messages. Contract: archive section 15.2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from pprint import pformat
from typing import Any, Protocol, TypeVar
from uuid import UUID

import msgspec
import typer

from pipeline import limits_archive
from pipeline.archive.archive import Archive
from pipeline.archive.audit import audit, cleaning, inspecting
from pipeline.archive.audit import store as audit_store
from pipeline.archive.audit.audit import Finding
from pipeline.archive.audit.inspecting import Inspected
from pipeline.archive.figures import status as stored
from pipeline.archive.storing import parking
from pipeline.cli import output
from pipeline.cli.archive_tables import counting, step, table, time_text
from pipeline.errors import BadInput
from pipeline.exits import FAILED
from pipeline.settings import Settings

T = TypeVar("T")


class OnArchive(Protocol):
    """Runs work on an archive that is open while it runs."""

    def __call__(self, work: Callable[[Archive], Awaitable[T]]) -> T:
        """Open the archive, run `work` on an event loop, close the archive and return the result."""

    async def settings(self) -> Settings:
        """Give the settings the archive is opened by."""


# --- status ---


def status(on: OnArchive, *, as_json: bool = False) -> int:
    """Print the three tables, the rows of the newest time, and how much is parked."""
    found = on(stored.status)
    if as_json:
        output.print_json(
            {**msgspec.to_builtins(found), "periods": [_period(each) for each in found.periods]}
        )
        return 0
    for period in found.periods:
        typer.echo(f"{period.title}\n")
        _print_period(period)
    if found.newest_ms is not None:
        typer.echo(time_text(found.newest_ms))
        rows = [(str(row.id), row.topic, str(row.uuid), row.size, row.key) for row in found.newest]
        _print(table(("id", "topic", "uuid", "size", "key"), rows))
    if found.parked:
        output.note(f"{found.parked:,} messages could not be stored and are parked")
    return 0


def _period(period: stored.Period) -> Mapping[str, Any]:
    return {
        **msgspec.to_builtins(period),
        "messages": period.messages,
        "size_bytes": period.size_bytes,
    }


def _print_period(period: stored.Period) -> None:
    headers = ("Topic", "n messages", "bytes stored", "sample uuid", "earliest (UTC)", "latest(UTC)")
    rows = [
        (
            line.topic,
            line.messages,
            line.size_bytes,
            str(line.sample),
            time_text(line.earliest_ms),
            time_text(line.latest_ms),
        )
        for line in period.topics
    ]
    _print(table(headers, rows, (len(rows), period.messages, period.size_bytes, "total", "", "")))


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(line)
    typer.echo("")


def parked(on: OnArchive, *, as_json: bool = False) -> int:
    """List the messages that could not be stored, newest first, with the reason."""
    found = on(lambda archive: parking.listed(archive.database))
    if as_json:
        output.print_json([msgspec.to_builtins(each) for each in found])
        return 0
    rows = [
        (
            each.id,
            each.topic,
            each.kafka_partition,
            each.kafka_offset,
            time_text(each.timestamp),
            each.parked_at.isoformat(timespec="seconds"),
            each.error,
        )
        for each in found
    ]
    output.print_rows(("id", "topic", "partition", "offset", "time", "parked", "error"), rows)
    return 0


# --- audits ---


def verify(on: OnArchive, *, everything: bool = False, crc: bool = False, as_json: bool = False) -> int:
    """Compare 100 random rows, or all, with their objects; 1 when one is anomalous."""
    sample = None if everything else limits_archive.ARCHIVE_AUDIT_SAMPLE

    def show(finding: Finding) -> None:
        if not as_json:
            typer.echo(_verdict(finding))
        elif not finding.ok:
            output.print_json(msgspec.to_builtins(finding))

    anomalous, checked = on(partial(_verify, show=show, sample=sample, crc=crc))
    if as_json:
        output.print_json({"anomalous": anomalous, "checked": checked})
    else:
        typer.echo(f"{anomalous} anomalous of {checked}")
    return FAILED if anomalous else 0


def verify_db_to_store(
    on: OnArchive, *, like: str = "%", sample: bool = False, verbose: bool = False, crc: bool = False
) -> int:
    """Compare the rows of topics (SQL LIKE) with their objects; 1 when one is anomalous."""

    def show(finding: Finding) -> None:
        if not finding.ok:
            typer.echo(_anomaly(finding))
        elif verbose:
            typer.echo(f"{_key(finding)} is ok")

    size = limits_archive.ARCHIVE_AUDIT_SAMPLE if sample else None
    anomalous, _ = on(partial(_verify, show=show, like=like, sample=size, crc=crc))
    typer.echo(f"anomolous entries {anomalous} detected")
    return FAILED if anomalous else 0


async def _verify(
    archive: Archive, show: Callable[[Finding], None], *, sample: int | None, crc: bool, like: str = "%"
) -> tuple[int, int]:
    """Show each finding as it is made; return how many are anomalous, of how many."""
    anomalous = checked = 0
    total = await audit.size_of(archive, like=like, sample=sample)
    with counting("messages", total) as bar:
        async for finding in audit.verify(archive, like=like, sample=sample, crc=crc):
            show(finding)
            step(bar)
            checked += 1
            anomalous += not finding.ok
    return anomalous, checked


def _key(finding: Finding) -> str:
    """Name the object of a finding, and in a pack the message."""
    key = output.safe(finding.key)
    return f"{key} {finding.uuid}" if finding.packed and finding.uuid is not None else key


def _verdict(finding: Finding) -> str:
    told = {
        "ok": "** key is ok",
        "missing": "** object does not exist ***",
        "size": "** size mismatch",
        "damaged": "** damaged ***",
        "unreadable": "** cannot be read ***",
    }
    return f"{told[finding.result]}, {_key(finding)}{_detail(finding)}"


def _anomaly(finding: Finding) -> str:
    key = _key(finding)
    told = {
        "missing": f"{key} does not exist ***",
        "size": f"{key} size mismatch, {key}",
        "damaged": f"{key} is damaged ***",
        "unreadable": f"{key} cannot be read ***",
    }
    return f"{told[finding.result]}{_detail(finding)}"


def _detail(finding: Finding) -> str:
    return f" ({output.safe(finding.detail)})" if finding.detail else ""


def verify_store_to_db(
    on: OnArchive, *, topic: str = "", year_month: str = "", as_json: bool = False
) -> int:
    """Look for objects no row describes; `year_month` is ``2024/3`` or ``2024``; 1 when there are some."""

    def show(stray: audit_store.Stray) -> None:
        if as_json:
            output.print_json(msgspec.to_builtins(stray))
        else:
            detail = f" ({stray.detail})" if stray.detail else ""
            typer.echo(f"{output.safe(stray.key)} {_FAULTS[stray.fault]} ***{detail}")

    async def work(archive: Archive) -> tuple[int, int]:
        anomalous = checked = 0
        with counting("objects", None) as bar:
            async for audited in audit_store.verify_store(archive, topic=topic, year_month=year_month):
                for stray in audited.strays:
                    show(stray)
                step(bar)
                checked += 1
                anomalous += bool(audited.strays)
        return anomalous, checked

    anomalous, checked = on(work)
    if as_json:
        output.print_json({"anomalous": anomalous, "checked": checked})
    else:
        typer.echo(f"{anomalous} anomalous of {checked}")
    return FAILED if anomalous else 0


_FAULTS = {
    "no row": "has no row",
    "size": "size mismatch",
    "versions": "has more than one version",
    "deleted": "was deleted and has older versions",
    "unfinished": "is an unfinished pack",
}


# --- single messages ---


def inspect(
    on: OnArchive, uuid: str, *, write: bool = False, quiet: bool = False, as_json: bool = False
) -> int:
    """Print one message; `write` makes the file ``<uuid>.bson``; 1 when it is unknown or damaged."""
    try:
        wanted = UUID(uuid)
    except ValueError as error:
        raise BadInput(f"inspect {uuid}", "it is no uuid") from error
    found = on(partial(inspecting.inspect, uuid=wanted))
    if found is None:
        output.note(f"no archived message has the uuid {wanted}")
        return FAILED
    if not quiet:
        output.print_json(_inspected(found)) if as_json else _print_inspected(found)
    if write and found.data is not None:
        Path(f"{wanted}.bson").write_bytes(found.data)
        output.note(f"{wanted}.bson: {len(found.data):,} bytes")
    if found.problem:
        output.note(f"damaged: {found.problem}")
    return FAILED if found.problem else 0


def _inspected(found: Inspected) -> Any:
    message = {} if found.document is None else inspecting.plain(found.document)
    object_ = {name: getattr(found.row, name) for name in _OF_OBJECT}
    return inspecting.jsonable({**object_, **message, "problem": found.problem})


_OF_OBJECT = ("uuid", "bucket", "key", "pack_offset", "size", "crc32")


def _print_inspected(found: Inspected) -> None:
    for name in _OF_OBJECT:
        value = getattr(found.row, name)
        if value is not None:
            typer.echo(f"{name:<12} {output.safe(value)}")
    if found.document is not None:
        message = inspecting.plain(found.document)
        typer.echo(f"{'layout':<12} {message.pop('layout')}")
        # Escapes what is not printable, in texts as in bytes.
        typer.echo(pformat(_shortened(message), sort_dicts=False, width=100))


def _shortened(value: Any) -> Any:
    """Cut long bytes and texts; the file that `--write` makes has them whole."""
    most = limits_archive.ARCHIVE_INSPECT_BYTES
    if isinstance(value, bytes) and len(value) > most:
        return value[:most] + f"... {len(value) - most:,} more".encode()
    if isinstance(value, str) and len(value) > most:
        return f"{value[:most]}... {len(value) - most:,} more"
    if isinstance(value, dict):
        return {name: _shortened(one) for name, one in value.items()}
    return [_shortened(one) for one in value] if isinstance(value, list) else value


def uuids(on: OnArchive, where: str, *, as_json: bool = False) -> int:
    """Print the uuids of the rows a WHERE clause chooses, one a line."""
    found = on(lambda archive: inspecting.uuids(archive.database, where))
    if as_json:
        output.print_json([str(uuid) for uuid in found])
    else:
        for uuid in found:
            typer.echo(uuid)
    return 0


# --- tidying ---


def clean_tests(on: OnArchive, topics: Sequence[str], *, quiet: bool = False) -> int:
    """Delete rows and objects of topics, asking first unless `quiet`; 1 when the answer is no."""

    async def look(archive: Archive) -> list[cleaning.TopicSize]:
        cleaning.check_not_protected(archive)
        return await cleaning.sizes(archive, topics)

    sizes = on(look)
    total = sum(size.messages for size in sizes)
    if not quiet:
        _print(table(("topic", "messages", "bytes"), [msgspec.structs.astuple(size) for size in sizes]))
        if not typer.confirm(f"Delete these {total:,} messages for good?", err=True):
            return FAILED

    async def work(archive: Archive) -> cleaning.Cleaned:
        with counting("messages", total) as bar:
            return await cleaning.clean_topics(archive, topics, progress=partial(step, bar))

    cleaned = on(work)
    output.note(f"deleted {cleaned.messages:,} messages, {cleaned.objects:,} objects")
    return 0


def clean_duplicates(
    on: OnArchive, *, count_only: bool = False, limit: int = 20, quiet: bool = False
) -> int:
    """Delete rows that repeat an older one, asking first unless `quiet`; 1 when the answer is no."""
    shown, groups, rows = on(partial(_repeated, most=limit, count_only=count_only))
    typer.echo("uuid test:")  # the tables of ours hold no uuid twice
    typer.echo("server side test:")
    for group in shown:
        values = (group.last_id, group.topic, group.size, group.timestamp, group.number)
        typer.echo(repr(values))
    if groups > len(shown):
        output.note(f"… and {groups - len(shown):,} more groups")
    typer.echo(f"{rows:,} rows may repeat an older one, in {groups:,} groups")
    if count_only or not rows:
        return 0
    question = f"Compare them and delete at most {limit:,} that do?"
    if not quiet and not typer.confirm(question, err=True):
        return FAILED
    cleaned = on(partial(cleaning.clean_duplicates, limit=limit))
    for uuid in cleaned.unreadable:
        output.note(f"left alone, its object cannot be read: {uuid}")
    typer.echo(f"deleted {cleaned.messages:,} rows, {cleaned.objects:,} objects")
    return 0


async def _repeated(
    archive: Archive, most: int, *, count_only: bool
) -> tuple[list[cleaning.Group], int, int]:
    """Give the first groups, and count all and the rows in them that are not the oldest."""
    if not count_only:
        cleaning.check_not_protected(archive)
    shown: list[cleaning.Group] = []
    groups = rows = 0
    async for group in cleaning.groups(archive):
        groups += 1
        rows += group.number - 1
        if len(shown) < most:
            shown.append(group)
    return shown, groups, rows


def migrate(on: OnArchive) -> int:
    """Bring the tables up to date, printing the version before and after.

    `on` must open the database without migrating it.
    """

    async def work(archive: Archive) -> tuple[str | None, str | None]:
        before = await archive.database.version()
        await archive.database.migrate()
        return before, await archive.database.version()

    before, after = on(work)
    typer.echo(f"before: {before or 'none'}")
    typer.echo(f"after:  {after}")
    return 0
