"""Texts of archived messages for tests: found in this process, stored, and searched for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive.source.policy import AllTopics, TopicRule
from pipeline.archive.text.index import IndexedText, insert_texts
from pipeline.archive.text.search import condition
from pipeline.archive.text.text import Text, Texts
from pipeline.database.engine import Database
from pipeline.database.tables import messages
from pipeline.identify.texts import extract

QUIET = "quiet.topic"


class Searched(AllTopics):
    """Every topic is searched but one."""

    def rule(self, topic: str) -> TopicRule:
        """Give the rule of a topic."""
        return TopicRule(topic, archivable=True, index_archived_text=topic != QUIET)


async def find_here(payloads: Sequence[tuple[str, bytes]], max_characters: int) -> list[tuple[str, bool]]:
    """Find texts as a parser process does, without one."""
    return [extract(*payload, max_characters) for payload in payloads]


def make_texts(**changes: Any) -> Texts:
    """Make a finder of texts; keywords replace what they name."""
    chosen: dict[str, Any] = {
        "policy": Searched(),
        "payload_texts": find_here,
        "message_max_bytes": 1000,
        "max_characters": 500,
    }
    return Texts(**(chosen | changes))


async def index(database: Database, texts: dict[UUID, str], *, fully: bool = True) -> None:
    """Store texts of stored messages."""
    rows = [IndexedText(uuid, Text(text, fully)) for uuid, text in texts.items()]

    async def write(connection: AsyncConnection) -> None:
        await insert_texts(connection, database.kind, rows)

    await database.write("test", write)


async def search(database: Database, words: str) -> list[UUID]:
    """Give the uuids of the messages a search finds, in order."""
    query = select(messages.c.uuid).where(condition(database.kind, words))

    async def ask(connection: AsyncConnection) -> list[UUID]:
        return sorted((await connection.execute(query)).scalars())

    return await database.read("test", ask)
