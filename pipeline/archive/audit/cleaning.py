"""Delete archived messages: whole topics of tests, and rows that repeat an older one.

Rows go first, in transactions that keep topic statistics and texts true, then the objects no row points to
any more, in all their versions and copies. So a crash leaves objects without a row, never a row without its
object; cleaning again, or `pipeline.archive.audit.store`, finds them. A message that is archived at the
same moment may take over a single object that is just being deleted: clean while nobody sends to the topic.
Contract: archive section 15.2, `clean_tests` and `clean_duplicates`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, delete, func, or_, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits, limits_archive
from pipeline.archive import listing, lookup
from pipeline.archive.archive import Archive
from pipeline.archive.audit.audit import at_once
from pipeline.archive.audit.store import verify_store
from pipeline.archive.lookup import ArchivedRow
from pipeline.database.tables import archive_packs, message_ts, messages, topics
from pipeline.errors import Conflict, Damaged, NotFound
from pipeline.objects.versions import erase

_TRIGGER = text(
    "SELECT 1 FROM pg_trigger WHERE tgrelid = 'messages'::regclass AND tgname = 'trigger_update_topics'"
)


class TopicSize(msgspec.Struct, frozen=True):
    """How much there is of a topic."""

    topic: str
    messages: int
    size_bytes: int


class Cleaned(msgspec.Struct):
    """What was deleted, and which rows were left because their object cannot be read."""

    messages: int = 0
    objects: int = 0
    unreadable: list[UUID] = []


class Group(msgspec.Struct, frozen=True):
    """Rows of one topic, time and payload CRC-32: how many, the newest, and the size of its object."""

    last_id: int
    topic: str
    size: int
    timestamp: int
    message_crc32: int
    number: int


class _Doomed(msgspec.Struct, frozen=True):
    id: int
    uuid: UUID
    topic: str
    key: str


def check_not_protected(archive: Archive) -> None:
    """Return when messages may be deleted.

    Raises:
        Conflict: The archive is protected.
    """
    if archive.protected:
        raise Conflict(
            "delete archived messages", "the archive is protected", "see the setting archive.protected"
        )


# --- topics ---


async def sizes(archive: Archive, names: Collection[str]) -> list[TopicSize]:
    """Say how much there is of each topic, in the order of their names. Raises `Unavailable`."""
    query = (
        select(func.count(), func.coalesce(func.sum(messages.c.size), 0))
        .select_from(messages)
        .where(messages.c.topic == bindparam("name"))
    )

    async def ask(connection: AsyncConnection) -> list[TopicSize]:
        found = []
        for name in sorted(set(names)):
            number, size_bytes = (await connection.execute(query, {"name": name})).one()
            found.append(TopicSize(name, number, int(size_bytes)))
        return found

    return await archive.database.read("measure topics", ask)


async def clean_topics(
    archive: Archive, names: Collection[str], *, progress: Callable[[int], None] = lambda _: None
) -> Cleaned:
    """Delete every message of the topics: rows, texts, statistics, objects, also in the backup.

    Objects without a row that are older than `limits_archive.ARCHIVE_YOUNG_SECONDS` go too; they are what
    an interrupted cleaning left. `progress` is told how many messages were deleted since it was last told.

    Raises:
        Conflict: The archive is protected; nothing was deleted.
        Unavailable: The store or the database does not answer; the same call goes on later.
    """
    check_not_protected(archive)
    cleaned = Cleaned()
    for name in names:
        while doomed := await _of_topic(archive, name):
            await _delete(archive, doomed, cleaned)
            progress(len(doomed))
        await _sweep(archive, name, cleaned)
        await _forget_topic(archive, name)
    return cleaned


async def _of_topic(archive: Archive, name: str) -> list[_Doomed]:
    query = (
        select(messages.c.id, messages.c.uuid, messages.c.topic, messages.c.key)
        .where(messages.c.topic == name)
        .order_by(messages.c.id)
        .limit(limits_archive.ARCHIVE_CLEAN_ROWS)
    )

    async def ask(connection: AsyncConnection) -> list[_Doomed]:
        return [_Doomed(*row) for row in await connection.execute(query)]

    return await archive.database.read("find rows to delete", ask)


async def _forget_topic(archive: Archive, name: str) -> None:
    """Remove the statistics of a topic that has no messages, and what was noted of its packs."""
    nothing = ~select(messages.c.id).where(messages.c.topic == name).exists()
    pack = archive_packs.c
    # One that was begun just now is about to be finished.
    begun_ms = int((archive.clock.unix() - limits_archive.ARCHIVE_YOUNG_SECONDS) * 1000)
    settled = or_(pack.size.is_not(None), pack.ingest_time < begun_ms)

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(delete(topics).where(topics.c.topic == name, nothing))
        await connection.execute(delete(archive_packs).where(pack.topic == name, nothing, settled))

    await archive.database.write("forget a topic", write)


async def _sweep(archive: Archive, name: str, cleaned: Cleaned) -> None:
    old = archive.clock.unix() - limits_archive.ARCHIVE_YOUNG_SECONDS
    async for audited in verify_store(archive, topic=name):
        if any(stray.fault in {"no row", "deleted"} for stray in audited.strays):
            stat = await archive.objects.stat(audited.key)
            if stat is None or stat.modified.timestamp() < old:
                await erase(archive.objects, audited.key)
                cleaned.objects += 1


# --- repeated messages ---


async def groups(archive: Archive) -> AsyncIterator[Group]:
    """Yield the groups of more than one row with the same topic, time and payload CRC-32."""
    for name in await listing.topic_names(archive.database):
        place: tuple[int, int] | None = None
        while page := await _groups_of(archive, name, place):
            for group in page:
                yield group
            place = page[-1].timestamp, page[-1].message_crc32


async def _groups_of(archive: Archive, name: str, place: tuple[int, int] | None) -> list[Group]:
    time, crc32 = messages.c.timestamp, messages.c.message_crc32
    query = (
        select(
            func.max(messages.c.id), messages.c.topic, func.max(messages.c.size), time, crc32, func.count()
        )
        .where(messages.c.topic == name)
        .group_by(messages.c.topic, time, crc32)
        .having(func.count() > 1)
        .order_by(time, crc32)
        .limit(limits.LIST_PAGE_MAX)
    )
    if place is not None:
        query = query.where(time >= place[0], tuple_(time, crc32) > place)

    async def ask(connection: AsyncConnection) -> list[Group]:
        return [Group(*row) for row in await connection.execute(query)]

    return await archive.database.read("look for repeated messages", ask)


async def clean_duplicates(archive: Archive, *, limit: int) -> Cleaned:
    """Delete rows whose topic, time and payload an older row has too, at most `limit` of them.

    Payloads are read and compared byte for byte; a row whose object cannot be read is neither deleted nor
    a reason to delete another. Of each kind the oldest row stays, and every object a row points to.

    Raises:
        Conflict: The archive is protected; nothing was deleted.
        Unavailable: The store or the database does not answer; the same call goes on later.
    """
    check_not_protected(archive)
    cleaned = Cleaned()
    async for group in groups(archive):
        room = limit - cleaned.messages
        if room <= 0:
            break
        repeating = await _repeating(archive, group, cleaned)
        if repeating:
            await _delete(archive, repeating[:room], cleaned)
    return cleaned


async def _repeating(archive: Archive, group: Group, cleaned: Cleaned) -> list[_Doomed]:
    """Give the rows of a group that hold the same value as an older one."""
    kinds: list[ArchivedRow] = []
    repeating = []
    for row in await _rows_of(archive, group):
        try:
            if await _same_as_one(archive, row, kinds):
                repeating.append(_Doomed(row.id, row.uuid, row.topic, row.key))
            else:
                kinds.append(row)
        except (NotFound, Damaged):
            cleaned.unreadable.append(row.uuid)
    return repeating


async def _same_as_one(archive: Archive, row: ArchivedRow, kinds: Sequence[ArchivedRow]) -> bool:
    # Two values at most are in memory, so the older one is read again for each younger.
    value = (await lookup.read_message(archive.objects, row)).value
    for kind in kinds:
        if (await lookup.read_message(archive.objects, kind)).value == value:
            return True
    return False


async def _rows_of(archive: Archive, group: Group) -> list[ArchivedRow]:
    query = (
        select(*lookup.COLUMNS)
        .where(
            messages.c.topic == group.topic,
            messages.c.timestamp == group.timestamp,
            messages.c.message_crc32 == group.message_crc32,
        )
        .order_by(messages.c.id)
        .limit(limits.LIST_PAGE_MAX)
    )

    async def ask(connection: AsyncConnection) -> list[ArchivedRow]:
        return [ArchivedRow(*row) for row in await connection.execute(query)]

    return await archive.database.read("read repeated messages", ask)


# --- deleting ---


async def _delete(archive: Archive, doomed: Sequence[_Doomed], cleaned: Cleaned) -> None:
    """Delete rows of one topic and then the objects that only they pointed to."""
    keys = {row.key for row in doomed}

    async def write(connection: AsyncConnection) -> int:
        return await _delete_rows(connection, doomed)

    cleaned.messages += await archive.database.write("delete rows", write)
    # True from here: the rows are gone for good. What is left of their objects is without a row.
    held = await _held(archive, keys)

    async def remove(key: str) -> None:
        await erase(archive.objects, key)

    async for _ in at_once(_each(keys - held), remove):
        cleaned.objects += 1
    # A pack's note goes last: while it says finished, nobody takes over an object that is being deleted.
    pack = archive_packs.c.key
    empty = ~select(messages.c.id).where(messages.c.key == pack).exists()
    gone = delete(archive_packs).where(pack.in_(keys - held), empty)
    await archive.database.write("forget packs", lambda connection: connection.execute(gone))


async def _delete_rows(connection: AsyncConnection, doomed: Sequence[_Doomed]) -> int:
    """Delete rows with everything that hangs on them; doing it twice changes nothing more."""
    uuids = [row.uuid for row in doomed]
    await connection.execute(delete(message_ts).where(message_ts.c.uuid.in_(uuids)))
    # Within one topic, whose name all rows share.
    found = await connection.execute(delete(messages).where(messages.c.id.in_([row.id for row in doomed])))
    counted = connection.dialect.name == "postgresql" and (await connection.execute(_TRIGGER)).first()
    if not counted:
        lowered = topics.c.n_messages - found.rowcount
        await connection.execute(
            update(topics).where(topics.c.topic == doomed[0].topic).values(n_messages=lowered)
        )
    return int(found.rowcount)


async def _held(archive: Archive, keys: Collection[str]) -> set[str]:
    """Give those of the keys that rows still point to."""
    query = select(messages.c.key).where(messages.c.key.in_(list(keys))).distinct()

    async def ask(connection: AsyncConnection) -> set[str]:
        return set((await connection.execute(query)).scalars())

    return await archive.database.read("look who needs objects", ask)


async def _each(keys: Collection[str]) -> AsyncIterator[str]:
    for key in sorted(keys):
        yield key
