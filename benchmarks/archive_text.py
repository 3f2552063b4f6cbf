"""Messages a second through the archive with their texts searched, beside the same without.

    python -m benchmarks.archive_text [--messages N]

Batches of 200, objects in memory, a parser process a core. Messages are JSON of 1 KiB made of words,
VOEvents in XML and Avro files with the same words in them. Each row gives messages a second with texts,
without, and their ratio; finding texts alone, indexing stored messages again, and searching have no other
side. PostgreSQL is measured when PIPELINE_TEST_POSTGRES names one, in a schema that is dropped after.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import fastavro
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline.archive.archive import Archive
from pipeline.archive.message import Message
from pipeline.archive.source.policy import AllTopics, TopicRule
from pipeline.archive.storing.writer import ArchiveWriter
from pipeline.archive.text.index import reindex
from pipeline.archive.text.search import condition
from pipeline.archive.text.text import Texts
from pipeline.clock import SystemClock
from pipeline.database.engine import Database
from pipeline.database.tables import messages
from pipeline.identify.pool import ParserPool
from pipeline.objects.memory import MemoryStore

BATCH = 200
WORDS_A_MESSAGE = 100
SEARCHES = 50
_START_MS = 1_700_000_000_000
_CHOICE = random.Random(4)
_WORDS = ["".join(_CHOICE.choices("aeioubdfgklmnprst", k=_CHOICE.randint(3, 9))) for _ in range(20_000)]
_SCHEMA = {
    "type": "record",
    "name": "alert",
    "fields": [{"name": "notes", "type": {"type": "map", "values": "string"}}],
}


class Searched(AllTopics):
    """Every topic's text is searched."""

    def rule(self, topic: str) -> TopicRule:
        """Give the rule of a topic."""
        return TopicRule(topic, archivable=True, publicly_readable=True, index_archived_text=True)


def as_json(words: Sequence[str]) -> bytes:
    """Write words as values of five words each."""
    return json.dumps(_fields(words)).encode()


def as_voevent(words: Sequence[str]) -> bytes:
    """Write the same as parameters of a VOEvent."""
    params = "".join(f'<Param name="{name}" value="{value}"/>\n' for name, value in _fields(words).items())
    return f'<voe:VOEvent ivorn="ivo://x/y#1" role="test"><What>{params}</What></voe:VOEvent>'.encode()


def as_avro(words: Sequence[str]) -> bytes:
    """Write the same as an Avro file of one record."""
    out = io.BytesIO()
    fastavro.writer(out, _SCHEMA, [{"notes": _fields(words)}], codec="deflate")
    return out.getvalue()


def _fields(words: Sequence[str]) -> dict[str, str]:
    return {f"field{n}": " ".join(words[n : n + 5]) for n in range(0, len(words), 5)}


def make_messages(
    count: int, topic: str, label: str, write: Callable[[Sequence[str]], bytes]
) -> list[Message]:
    """Make messages of random words."""
    headers = (("_format", label.encode()), ("title", b"measured"))
    return [
        Message(
            topic, 0, n, _START_MS + n, None, write(_CHOICE.choices(_WORDS, k=WORDS_A_MESSAGE)), headers
        )
        for n in range(count)
    ]


async def unasked(blocks: Sequence[bytes]) -> list[str]:
    """Stand in for libmagic, which is not asked: the headers name the formats."""
    raise AssertionError(f"{len(blocks)} messages have no format")


class Bench:
    """An empty archive on one database, and the finder of texts."""

    def __init__(self, name: str, database: Database, objects: MemoryStore, texts: Texts) -> None:
        self.name = name
        self._archive = Archive(objects, database, SystemClock())
        self._texts = texts

    async def both(self, what: str, made: Callable[[str], list[Message]]) -> None:
        """Store messages with texts and others without, each after a warm-up, and print both rates."""
        rates = []
        for side, texts in (("with", self._texts), ("without", None)):
            await self._store(made(f"warm-{side}-{what}")[:BATCH], texts)
            rates.append(await self._store(made(f"{side}-{what}"), texts))
        ours, bare = rates
        print(f"{f'{what}, {self.name}':44}{ours:8,.0f}/s   without {bare:8,.0f}/s   {ours / bare:.2f}")

    async def _store(self, batch: list[Message], texts: Texts | None) -> float:
        archive = self._archive
        writer = ArchiveWriter(
            archive.objects, archive.database, clock=archive.clock, media_types=unasked, texts=texts
        )
        started = time.perf_counter()
        for start in range(0, len(batch), BATCH):
            outcomes = await writer.store(batch[start : start + BATCH])
            assert all(outcome.stored for outcome in outcomes)
        return len(batch) / (time.perf_counter() - started)

    async def again(self) -> None:
        """Index what was stored without texts, and print the rate."""
        started = time.perf_counter()
        found = await reindex(self._archive, self._texts, unasked)
        rate = found.indexed / (time.perf_counter() - started)
        print(f"{f'indexed again, {self.name}':44}{rate:8,.0f}/s")

    async def search(self) -> None:
        """Search for words that some messages have, and print how many searches a second are answered."""
        database = self._archive.database
        started = time.perf_counter()
        for _ in range(SEARCHES):
            wanted = condition(database.kind, " or ".join(_CHOICE.choices(_WORDS, k=2)))

            async def ask(connection: AsyncConnection, wanted: object = wanted) -> int:
                query = select(func.count()).select_from(messages).where(wanted)  # type: ignore[arg-type]
                return (await connection.execute(query)).scalar_one()

            await database.read("search", ask)
        rate = SEARCHES / (time.perf_counter() - started)
        print(f"{f'searches, {self.name}':44}{rate:8,.0f}/s")


async def measure(name: str, url: str, count: int, texts: Texts) -> None:
    """Measure one database."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(url, Path(folder))
        await database.open()
        objects = MemoryStore(Path(folder) / "spool")
        await objects.open()
        try:
            bench = Bench(name, database, objects, texts)
            for label, write in (("json", as_json), ("voevent", as_voevent), ("avro", as_avro)):
                await bench.both(label, lambda topic, a=label, b=write: make_messages(count, topic, a, b))  # type: ignore[misc]
            await bench.again()
            await bench.search()
        finally:
            await objects.close()
            await database.close()


async def measure_all(count: int) -> None:
    """Measure finding texts alone, then SQLite, and PostgreSQL where there is one."""
    async with ParserPool() as pool:
        texts = Texts(Searched(), pool.texts, message_max_bytes=2**22, max_characters=2**14)
        await found_alone(texts, count)
        await measure("SQLite", "sqlite:", count, texts)
        if dsn := os.environ.get("PIPELINE_TEST_POSTGRES"):
            async with _postgres(dsn) as url:
                await measure("PostgreSQL", url, count, texts)


async def found_alone(texts: Texts, count: int) -> None:
    """Find the texts of messages and nothing else."""
    made = make_messages(count, "alone", "json", as_json)
    batches = [made[start : start + BATCH] for start in range(0, count, BATCH)]
    await texts.of(batches[0], ["application/json"] * len(batches[0]))
    started = time.perf_counter()
    await asyncio.gather(*(texts.of(batch, ["application/json"] * len(batch)) for batch in batches))
    print(f"{'json, found and not stored':44}{count / (time.perf_counter() - started):8,.0f}/s")


@asynccontextmanager
async def _postgres(dsn: str) -> AsyncIterator[str]:
    schema = "bench_" + uuid.uuid4().hex[:12]
    yield f"{dsn}?schema={schema}"
    connection = await asyncpg.connect(dsn)
    await connection.execute(f'DROP SCHEMA "{schema}" CASCADE')
    await connection.close()


def main() -> None:
    """Measure and print one line a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--messages", type=int, default=5_000)
    asyncio.run(measure_all(parser.parse_args().messages))


if __name__ == "__main__":
    main()
