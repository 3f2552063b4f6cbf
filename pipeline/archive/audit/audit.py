"""Compare the rows of an archive with its objects: is each there, of the right size, with the right bytes?

Looks at many objects at once and reads each once, packs too. One that is lost, damaged or cannot be read is
told and the audit goes on. Where the archive has a backup both copies are looked at. The other direction
is `pipeline.archive.audit.store`. Contract: archive sections 12 and 15.2.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import aclosing
from typing import Literal, TypeVar
from uuid import UUID

import msgspec

from pipeline import limits_archive, metrics_archive
from pipeline.archive.archive import Archive
from pipeline.archive.audit import rows as audit_rows
from pipeline.archive.audit.content import ObjectCheck
from pipeline.archive.audit.rows import AuditRow, Held
from pipeline.errors import BadInput, Damaged, HeadraceError, NotFound, Unavailable
from pipeline.objects import copies
from pipeline.objects.port import ObjectStore

T = TypeVar("T")
R = TypeVar("R")
Result = Literal["ok", "missing", "size", "damaged", "unreadable"]


class Finding(msgspec.Struct, frozen=True):
    """What was found of one message; `uuid` is None for a pack whose bytes between messages are damaged.

    ``missing``: there is no object. ``size``: it is not as large as its row says, or ends before it.
    ``damaged``: its bytes are not those stored. ``unreadable``: the store did not give it. `detail` says
    more, and in which copy.
    """

    result: Result
    key: str
    uuid: UUID | None
    detail: str = ""
    packed: bool = False

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong."""
        return self.result == "ok"


async def verify(
    archive: Archive, *, like: str = "%", sample: int | None = None, crc: bool = False
) -> AsyncIterator[Finding]:
    """Yield a finding for each message of the topics (SQL LIKE), in the order of their keys.

    Args:
        archive: What is audited.
        like: The topics.
        sample: Look at so many messages taken by chance; None looks at all.
        crc: Read the documents and compare CRC-32 and the payload's CRC-32 and SHA-256 too.

    Raises:
        Unavailable: The database does not answer, or the store is down.
    """
    topics = await audit_rows.topics_like(archive.database, like)
    held = _chosen(archive, topics, sample)

    async def check(one: Held) -> list[Finding]:
        return await _check_copies(archive, one, crc=crc)

    failures = 0
    async with aclosing(at_once(held, check)) as found:
        async for findings in found:
            failures = failures + 1 if findings[0].result == "unreadable" else 0
            if failures >= limits_archive.ARCHIVE_AUDIT_FAILURES:
                raise Unavailable("audit the archive", findings[0].detail, "see whether its store is up")
            for finding in findings:
                metrics_archive.VERIFIED.labels(finding.result).inc()
                yield finding


async def size_of(archive: Archive, *, like: str = "%", sample: int | None = None) -> int:
    """Count the messages `verify` would look at."""
    topics = await audit_rows.topics_like(archive.database, like)
    number = await audit_rows.count(archive.database, topics)
    return number if sample is None else min(number, sample)


def _chosen(archive: Archive, topics: Collection[str] | None, sample: int | None) -> AsyncIterator[Held]:
    if sample is None:
        return audit_rows.objects(archive.database, topics)
    return audit_rows.sample(archive.database, topics, sample)


async def _check_copies(archive: Archive, held: Held, *, crc: bool) -> list[Finding]:
    """Look at an object in each store that has to hold it; a message is fine when all copies of it are."""
    first, *others = copies.each(archive.objects)
    findings = await _check(first, held, crc=crc)
    for other in others:
        again = await _check(other, held, crc=crc)
        findings = [mine if not mine.ok else _of_backup(its) for mine, its in _paired(findings, again)]
    return findings


def _paired(mine: list[Finding], theirs: list[Finding]) -> Iterable[tuple[Finding, Finding]]:
    found = {finding.uuid: finding for finding in theirs}
    own = {finding.uuid for finding in mine}
    for finding in mine:
        yield finding, found.get(finding.uuid, finding)
    for finding in theirs:
        if finding.uuid not in own:
            yield msgspec.structs.replace(finding, result="ok"), finding


def _of_backup(finding: Finding) -> Finding:
    if finding.ok:
        return finding
    detail = f"in the backup: {finding.detail}" if finding.detail else "in the backup"
    return msgspec.structs.replace(finding, detail=detail)


async def _check(store: ObjectStore, held: Held, *, crc: bool) -> list[Finding]:
    try:
        stat = await store.stat(held.key)
        if stat is None:
            return [_finding(row, "missing") for row in held.rows]
        outside = [row for row in held.rows if not _fits(row, stat.size_bytes)]
        inside = [row for row in held.rows if _fits(row, stat.size_bytes)]
        findings = [_finding(row, "size", _sizes(row, stat.size_bytes)) for row in outside]
        if crc and inside:
            findings += await _check_content(store, held, inside)
        else:
            findings += [_finding(row, "ok") for row in inside]
        return findings + _check_pack(held, stat.size_bytes)
    except NotFound:
        return [_finding(row, "missing") for row in held.rows]
    except HeadraceError as error:
        return [_finding(row, "unreadable", str(error)) for row in held.rows]


def _fits(row: AuditRow, size_bytes: int) -> bool:
    return row.size == size_bytes if row.pack_offset is None else row.end <= size_bytes


def _sizes(row: AuditRow, size_bytes: int) -> str:
    if row.pack_offset is None:
        return f"{size_bytes} bytes, its row says {row.size}"
    return f"its pack has {size_bytes} bytes, its row says it ends at {row.end}"


def _check_pack(held: Held, size_bytes: int) -> list[Finding]:
    noted = held.manifest
    if noted is None or noted.size is None or noted.size == size_bytes:
        return []
    detail = f"the pack has {size_bytes} bytes, {noted.size} were stored"
    return [Finding("size", held.key, None, detail, packed=True)]


async def _check_content(store: ObjectStore, held: Held, rows: list[AuditRow]) -> list[Finding]:
    check = ObjectCheck(rows)
    if held.whole or rows[0].pack_offset is None:
        await _read(store, held.key, check, 0, None)
    else:
        for row in sorted(rows, key=lambda row: row.first):
            await _read(store, held.key, check, row.first, row.end - 1)
    findings = [_finding(row, "damaged" if why else "ok", why) for row, why in check.verdicts()]
    noted = held.manifest
    fine = all(finding.ok for finding in findings)
    if fine and noted is not None and noted.crc32 is not None and noted.crc32 != check.crc32:
        detail = (
            f"CRC-32 of the pack {check.crc32}, {noted.crc32} was stored; its messages are as they were"
        )
        findings.append(Finding("damaged", held.key, None, detail, packed=True))
    return findings


async def _read(store: ObjectStore, key: str, check: ObjectCheck, first: int, last: int | None) -> None:
    try:
        download = await store.get(key, first=first, last=last)
    except BadInput as error:
        raise Damaged(f"read the archived object {key}", f"it ends before offset {first}") from error
    async for chunk in download:
        check.feed(chunk, first)
        first += len(chunk)


def _finding(row: AuditRow, result: Result, detail: str = "") -> Finding:
    return Finding(result, row.key, row.uuid, detail, packed=row.pack_offset is not None)


async def at_once(
    items: AsyncIterator[T],
    work: Callable[[T], Awaitable[R]],
    most: int = limits_archive.ARCHIVE_AUDIT_OBJECTS,
) -> AsyncGenerator[R, None]:
    """Yield the results of `work` on each item, in their order, with `most` of them under way."""
    under_way: deque[asyncio.Future[R]] = deque()
    try:
        async for item in items:
            under_way.append(asyncio.ensure_future(work(item)))
            if len(under_way) >= most:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for future in under_way:
            future.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
