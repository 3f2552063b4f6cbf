"""The archive's rows, on either database: what is known of messages, and storing what hangs together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive, metrics_archive
from pipeline.archive.rows import Row
from pipeline.archive.storing import pack_manifests, postgres, sqlite
from pipeline.archive.storing.dedupe import Known, Rule, Stretch, Wanted
from pipeline.archive.storing.pack_manifests import Manifest, Plan, Written
from pipeline.archive.storing.steps import Step, step
from pipeline.archive.text.index import IndexedText, insert_texts
from pipeline.archive.text.text import Text
from pipeline.database.engine import Database
from pipeline.errors import BadInput

T = TypeVar("T")
Texts = Mapping[UUID, Text]


class Added(NamedTuple):
    """What became of rows: those stored now, and why others are refused; the rest met stored ones."""

    uuids: set[UUID]
    refused: dict[UUID, str]


class RowStore:
    """Reads and writes rows; at most `limits_archive.ARCHIVE_DATABASE_CALLS` calls at once.

    All raise `Unavailable` when the database does not answer.

    Args:
        database: Where the rows are.
        rule: What counts as a duplicate.
    """

    def __init__(self, database: Database, rule: Rule) -> None:
        self._database = database
        self._rule = rule
        self._turns = asyncio.Semaphore(limits_archive.ARCHIVE_DATABASE_CALLS)
        on_postgres = database.kind == "postgresql"
        self._known = postgres.known if on_postgres else sqlite.known
        self._insert = postgres.insert if on_postgres else sqlite.insert
        self._copy = postgres.copy if on_postgres else sqlite.copy

    async def known(self, wanted: Wanted) -> Known:
        """Ask what is stored of the places, uuids and contents wanted."""
        return await self._read("find duplicates", lambda asked: self._known(asked, wanted, self._rule))

    async def known_of_part(self, wanted: Wanted, part: Stretch) -> tuple[Known, list[Manifest]]:
        """Ask the same, and for packs under way in that part of a partition, as of one moment."""

        async def ask(connection: AsyncConnection) -> tuple[Known, list[Manifest]]:
            known = await self._known(connection, wanted, self._rule)
            return known, await pack_manifests.unfinished(connection, part)

        return await self._read("find duplicates", ask)

    async def add(self, rows: Sequence[Row], texts: Texts) -> Added:
        """Store rows with their texts and statistics. One the database refuses holds up no other."""
        if not rows:
            return Added(set(), {})

        async def write(connection: AsyncConnection) -> set[UUID]:
            added = await self._insert(connection, rows)
            await self._index(connection, texts, added)
            return added

        try:
            return Added(await self._write("insert", "store rows", write), {})
        except BadInput as error:
            if len(rows) == 1:
                return Added(set(), {rows[0].uuid: str(error)})
        half = len(rows) // 2
        first, second = await self.add(rows[:half], texts), await self.add(rows[half:], texts)
        return Added(first.uuids | second.uuids, first.refused | second.refused)

    async def add_pack(
        self, manifest: Manifest, written: Written, rows: Sequence[Row], texts: Texts, *, new: bool
    ) -> Added:
        """Store the rows of a pack and finish its manifest.

        In one transaction, unless some row meets a stored one or is refused: then the manifest comes last,
        and whoever finds it unfinished does this again. It stays unfinished when no row was stored. `new`
        says that none is expected to meet a stored one.
        """

        async def write(connection: AsyncConnection) -> set[UUID]:
            await pack_manifests.finish(connection, manifest, written)
            added = await self._copy(connection, rows)
            await self._index(connection, texts, added)
            return added

        if new:
            try:
                return Added(await self._write("insert", "store rows of a pack", write), {})
            except BadInput:
                pass  # One by one then, which tells which row it was.
        added, refused = set[UUID](), dict[UUID, str]()
        for start in range(0, len(rows), limits_archive.ARCHIVE_COPY_ROWS):
            some = await self.add(rows[start : start + limits_archive.ARCHIVE_COPY_ROWS], texts)
            added |= some.uuids
            refused |= some.refused
        if added:
            await self.finish(manifest, written)
        return Added(added, refused)

    async def claim(self, plan: Plan) -> Manifest | None:
        """Note that a pack is under way; see `pack_manifests.claim`."""
        return await self._write("plan", "plan a pack", lambda asked: pack_manifests.claim(asked, plan))

    async def finish(self, manifest: Manifest, written: Written) -> None:
        """Note that a pack is complete."""
        await self._write(
            "insert", "finish a pack", lambda asked: pack_manifests.finish(asked, manifest, written)
        )

    async def remove(self, manifest: Manifest) -> None:
        """Forget a pack whose object is gone."""
        await self._write("plan", "forget a pack", lambda asked: pack_manifests.remove(asked, manifest))

    async def is_used(self, key: str) -> bool:
        """Say whether a message lies in the object of that key."""
        return await self._read("look into a pack", lambda asked: pack_manifests.is_used(asked, key))

    async def _index(self, connection: AsyncConnection, texts: Texts, added: set[UUID]) -> None:
        indexed = [IndexedText(uuid, text) for uuid, text in texts.items() if uuid in added]
        await insert_texts(connection, self._database.kind, indexed)

    async def _read(self, name: str, ask: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        with step("look up"):
            async with self._turns:
                return await self._database.read(name, ask)

    async def _write(self, what: Step, name: str, write: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        with step(what, metrics_archive.INSERT_SECONDS if what == "insert" else None):
            async with self._turns:
                return await self._database.write(name, write)
