"""Documents a second into the index, and searches a second out of it.

    python -m benchmarks.index [--files N] [--opensearch] [--profile]

A file here is what `headrace scan` makes of one: a sourced and an enriched event, so three documents (the
parent, two children) of together about 6 KiB. Beside it stands the bare way of the same run: making
documents against encoding the events; the SQLite index against one table of the same bodies with a unique
id, written in the same batches, and searched with ``json_extract``; OpenSearch (with `--opensearch`, named
by PIPELINE_TEST_OPENSEARCH) against bare bulk requests of the same bodies to an index of the same mapping.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import hashlib
import os
import pstats
import random
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import orjson
from opensearchpy import AsyncOpenSearch

from pipeline.events.codec import encode
from pipeline.events.models import BinaryEvent
from pipeline.events.sources import sources_from
from pipeline.index.documents import documents_of
from pipeline.index.location import index_at
from pipeline.index.names import Layout
from pipeline.index.port import Document, Index
from pipeline.index.query import Group, Prefix, Query, Range, Sort, Term, Text
from pipeline.index.templates import template

BATCH_FILES = 150
SOURCES = sources_from({"scan": {}}, "bench01")
_KINDS = (
    ("text/python", "text/x-python", "Python script, ASCII text executable", "py"),
    ("executable/linux/elf64", "application/x-sharedlib", "ELF 64-bit LSB shared object, x86-64", "so"),
    ("image/png", "image/png", "PNG image data, 16 x 16, 8-bit/color RGBA, non-interlaced", "png"),
    ("text/plain", "text/plain", "UTF-8 Unicode text, with very long lines", "txt"),
)


class Rate(NamedTuple):
    """One measured row: rates of ours and of the bare way, and the processor time one of ours takes."""

    name: str
    ours: float
    bare: float
    cpu_ms: float


class _Watch:
    """Measures what stands inside its block."""

    def __enter__(self) -> Self:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.cpu_seconds = time.process_time() - self._cpu


def make_events(files: int) -> list[BinaryEvent]:
    """Make the two events of each file, as the scan and the enricher publish them."""
    chance = random.Random(1)
    return [event for number in range(files) for event in _events(number, chance)]


def _events(number: int, chance: random.Random) -> list[BinaryEvent]:
    digest = hashlib.sha512(str(number).encode()).hexdigest()
    file_format, mime, magic, extension = _KINDS[number % len(_KINDS)]
    known = {
        "sha256": digest[:64],
        "sha512": digest,
        "sha1": digest[:40],
        "md5": digest[:32],
        "ssdeep": f"96:{digest[:60]}:{digest[60:90]}",
        "tlsh": "T1" + digest[:70].upper(),
        "size": chance.randrange(10**6),
        "mime": mime,
        "magic": magic,
        "file_format": file_format,
        "file_extension": extension,
    }
    path = f"/usr/lib/python3/dist-packages/module{number % 97}/file{number}.{extension}"
    features = [
        {"name": "filename", "type": "filepath", "value": path},
        {"name": "entropy", "type": "float", "value": f"{chance.random() * 8:.4f}"},
        {"name": "yara_rule", "type": "string", "value": f"rule_{chance.randrange(40)}", "offset": 64},
        {"name": "yara_rule", "type": "string", "value": f"rule_{chance.randrange(40)}", "offset": 4096},
    ]
    sourced = {"datastreams": [known | {"label": "content", "identify_version": 1}]}
    enriched = {"features": features, "info": {"entropy": {"overall": 5.1, "blocks": [5.0] * 40}}}
    return [
        _event(number, "sourced", known | sourced, path),
        _event(number, "enriched", known | enriched, path),
    ]


def _event(number: int, action: str, entity: dict[str, Any], path: str) -> BinaryEvent:
    author = {"name": "headrace", "version": "0.1.0", "category": "plugin"}
    timestamp = f"2026-11-01T10:{number // 60 % 60:02}:{number % 60:02}.{number % 1000 + 1:06}Z"
    node = {"author": author, "action": action, "sha256": entity["sha256"], "timestamp": timestamp}
    event = {
        "model_version": 6,
        "timestamp": timestamp,
        "author": author,
        "action": action,
        "entity": entity,
        "source": {"name": "scan", "timestamp": timestamp, "references": {"path": path}, "path": [node]},
        "track_source_references": "scan." + entity["md5"],
        "track_authors": ["plugin.headrace.0.1.0"],
    }
    return msgspec.json.decode(msgspec.json.encode(event), type=BinaryEvent)


def _documents(events: Sequence[BinaryEvent]) -> list[Document]:
    return [each for event in events for each in documents_of(event, sources=SOURCES, default_security="")]


def _batches(documents: Sequence[Document]) -> list[Sequence[Document]]:
    size = 4 * BATCH_FILES
    return [documents[at : at + size] for at in range(0, len(documents), size)]


def making(events: Sequence[BinaryEvent]) -> Rate:
    """Measure making documents beside encoding the events they come from."""
    with _Watch() as ours:
        _documents(events)
    with _Watch() as bare:
        for event in events:
            encode(event)
    count = len(events)
    return Rate(
        "events to documents", count / ours.seconds, count / bare.seconds, ours.cpu_seconds / count * 1e3
    )


# --- SQLite ---


def bare_table(path: Path, documents: Sequence[Document]) -> sqlite3.Connection:
    """Write the bodies into one table, a synced transaction a batch."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE documents (id TEXT PRIMARY KEY, version INTEGER, body BLOB)")
    for batch in _batches(documents):
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)",
            [(each.id, each.version, orjson.dumps(each.body)) for each in batch],
        )
        connection.execute("COMMIT")
    return connection


async def put_all(index: Index, documents: Sequence[Document]) -> None:
    """Write everything in batches, one after another."""
    for batch in _batches(documents):
        assert await index.put(batch) == []


async def sqlite_rates(folder: Path, documents: Sequence[Document]) -> list[Rate]:
    """Measure the SQLite index."""
    count = len(documents)
    index = index_at("sqlite:", data_folder=folder, layout=Layout("bench"))
    await index.open()
    with _Watch() as bare:
        connection = bare_table(folder / "bare.sqlite", documents)
    try:
        with _Watch() as ours:
            await put_all(index, documents)
        with _Watch() as again:
            await put_all(index, documents)
        rates = [
            _put_rate("sqlite put", count, ours, bare),
            _put_rate("sqlite put of the same again", count, again, bare),
        ]
        return rates + await searches("sqlite", index, documents, connection)
    finally:
        connection.close()
        await index.close()


def _put_rate(name: str, count: int, ours: _Watch, bare: _Watch) -> Rate:
    return Rate(name, count / ours.seconds, count / bare.seconds, ours.cpu_seconds / count * 1e3)


async def searches(
    name: str, index: Index, documents: Sequence[Document], bare: sqlite3.Connection | None
) -> list[Rate]:
    """Measure searches one after another; the bare way reads every body for each."""
    sha256 = documents[len(documents) // 2].routing or ""
    seconds = _bare_search(bare, sha256) if bare else float("nan")
    newest = (Sort("timestamp", descending=True),)
    queries = {
        "hash": Query(Term("sha256", (sha256,))),
        "words": Query(Text("python script file77")),
        "prefix": Query(Prefix("filename", "/usr/lib/python3/dist-packages/module7")),
        "newest": Query(Term("source.name", ("scan",)), sort=newest),
        "range": Query(Range("size", at_least=1000, below=2000)),
    }
    rates = []
    for label, query in queries.items():
        with _Watch() as ours:
            for _ in range(20):
                await index.search("binary2", query)
        rates.append(
            Rate(f"{name} search: {label}", 20 / ours.seconds, 1 / seconds, ours.cpu_seconds / 20 * 1e3)
        )
    with _Watch() as ours:
        for _ in range(20):
            await index.group("binary2", Group("file_format"))
    rates.append(Rate(f"{name} group", 20 / ours.seconds, 1 / seconds, ours.cpu_seconds / 20 * 1e3))
    return rates


def _bare_search(connection: sqlite3.Connection, sha256: str) -> float:
    with _Watch() as watch:
        connection.execute(
            "SELECT id FROM documents WHERE json_extract(body, '$.sha256') = ?", (sha256,)
        ).fetchall()
    return watch.seconds


# --- OpenSearch ---


async def bare_bulk(client: AsyncOpenSearch, name: str, documents: Sequence[Document]) -> None:
    """Write the bodies by plain bulk requests."""
    for batch in _batches(documents):
        lines = b"".join(
            b"%b\n%b\n"
            % (
                orjson.dumps({"index": {"_index": name, "_id": each.id, "routing": each.routing}}),
                orjson.dumps({k: v for k, v in each.body.items() if not k.endswith("_vector")}),
            )
            for each in batch
        )
        answer = await client.bulk(body=lines)
        assert not answer["errors"], answer["items"][0]


async def opensearch_rates(url: str, documents: Sequence[Document]) -> list[Rate]:
    """Measure OpenSearch through our index and by bare requests."""
    layout = Layout(f"bench{uuid.uuid4().hex[:8]}")
    index = index_at(f"opensearch+{url}", data_folder=Path("/unused"), layout=layout)
    client = AsyncOpenSearch(hosts=[url], timeout=60)
    bare_name = f"bare-{layout.partition}"
    try:
        await index.open()
        body = template("binary2", layout, vectors=False)["template"]
        names = {"filename", "entropy", "yara_rule"}
        body["mappings"]["properties"]["features_map"] = {
            "properties": {name: {"type": "keyword"} for name in names}
        }
        await client.indices.create(
            index=bare_name, body={"settings": body["settings"], "mappings": body["mappings"]}
        )
        await put_all(index, documents[:400])  # the sixteen indices and the feature names are made here
        with _Watch() as bare:
            await bare_bulk(client, bare_name, documents)
        with _Watch() as ours:
            await put_all(index, documents)
        await index.refresh()
        rates = [_put_rate("opensearch put, 16 indices beside 1", len(documents), ours, bare)]
        return rates + await searches("opensearch", index, documents, None)
    finally:
        await index.close()
        await client.indices.delete(index=f"azul.*.{layout.partition}.*,{bare_name}")
        await client.indices.delete_index_template(name=f"azul.{layout.partition}.*")
        await client.close()


def measure(files: int, *, opensearch: bool) -> list[Rate]:
    """Measure everything."""
    events = make_events(files)
    documents = _documents(events)
    rates = [making(events)]
    with tempfile.TemporaryDirectory() as folder:
        rates += asyncio.run(sqlite_rates(Path(folder), documents))
    if opensearch:
        rates += asyncio.run(opensearch_rates(os.environ["PIPELINE_TEST_OPENSEARCH"], documents))
    return rates


def main() -> None:
    """Print a row for each way of using the index."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--opensearch", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()

    def run() -> list[Rate]:
        return measure(options.files, opensearch=options.opensearch)

    for name, ours, bare, cpu_ms in _profiled(run) if options.profile else run():
        print(f"{name:40} {ours:9,.0f}/s   bare {bare:9,.0f}/s   {ours / bare:6.2f}   {cpu_ms:7.3f} ms CPU")


def _profiled(run: Callable[[], list[Rate]]) -> list[Rate]:
    profile = cProfile.Profile()
    rates = profile.runcall(run)
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    return rates


if __name__ == "__main__":
    main()
