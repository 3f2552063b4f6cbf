"""A scan: files of this machine through the whole pipeline, and what it found out about each.

Guarantees that a file which was scanned before, under the same path, time and content, is not sent again
and is answered from the index, so that an interrupted scan goes on where it stopped. The agents run beside
it in the same process; results are read back from the log as they become durable.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import os
import stat
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline import limits
from pipeline.app import Parts
from pipeline.events.codec import decode_stored
from pipeline.events.models import BinaryEvent
from pipeline.events.names import CONTENT, ENRICHED
from pipeline.events.records import record_of
from pipeline.events.topics import binary_topic
from pipeline.identify.enrichment import AUTHOR, Finding, finding_of, finding_of_document
from pipeline.index.documents import documents_of
from pipeline.index.query import And, Query, Term
from pipeline.log.port import Reader, Record, TopicPartition
from pipeline.objects.hashing import Digest, Hasher, hash_bytes
from pipeline.objects.keys import stream_key
from pipeline.submission import sourced_event

SOURCE = "scan"
PATH_REFERENCE = "path"
FILES_AT_ONCE = 64
"""Files whose bytes may be on their way into the store at the same time."""
SMALL_FILE_BYTES = limits.MIB
"""Up to this size a file is read once and kept while it is hashed and stored."""
FILES_OUTSTANDING = 4096
"""Files sent and not answered yet."""
RESULTS_AT_ONCE = 500
NO_ANSWER = "no result; `headrace parked list` says why"
POLL_SECONDS = 0.05
"""How often the end of the agents' work is looked for."""


class Found(msgspec.Struct, frozen=True):
    """What a scan says of one file."""

    path: str
    outcome: str
    """``new``, ``known`` (scanned before), or ``failed``."""
    size_bytes: int = 0
    finding: Finding | None = None
    problem: str = ""
    """Why the file failed, or what the parser could not finish."""


class _File(NamedTuple):
    path: Path
    shown: str
    size_bytes: int
    modified: dt.datetime
    digest: Digest
    data: bytes | None
    """The bytes of a small file."""


def files_below(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files named or below the folders named, each path once, in a steady order.

    Symbolic links are followed when named themselves, not below a folder; what is no regular file is left
    out below a folder.
    """
    seen: set[str] = set()
    for path in paths:
        for file in _walk(path):
            absolute = str(file.absolute())
            if absolute not in seen:
                seen.add(absolute)
                yield Path(absolute)


def _walk(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if stat.S_ISREG(file.lstat().st_mode):
                yield file


class Scan:
    """One run over some files.

    Args:
        parts: Opened parts, with the agents running over them.
        backlog: Gives how many records the agents have not finished.
        report: Is told about each file as soon as its answer is durable.
    """

    def __init__(
        self, parts: Parts, backlog: Callable[[], Awaitable[int]], report: Callable[[Found], None]
    ) -> None:
        self._parts = parts
        self._backlog = backlog
        self._report = report
        self._waiting: dict[str, _File] = {}
        self._room = asyncio.Semaphore(FILES_OUTSTANDING)

    async def run(self, paths: Sequence[Path]) -> None:
        """Send every file that is not known and report what is found out about each.

        Ends when every file has its answer and the agents have nothing left to do.
        """
        await self._settled()
        reader = self._parts.log.reader(await self._ends())
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send(paths))
                await self._read_results(reader, sending)
        finally:
            await reader.close()
        for file in self._waiting.values():
            self._report(Found(file.shown, "failed", problem=NO_ANSWER, size_bytes=file.size_bytes))

    async def _settled(self) -> None:
        while await self._backlog():  # noqa: ASYNC110 - the offsets are in the log, for all workers
            await asyncio.sleep(POLL_SECONDS)

    async def _ends(self) -> dict[TopicPartition, int]:
        topic = binary_topic(self._parts.settings.events.prefix, SOURCE, ENRICHED)
        count = (await self._parts.log.topics())[topic]
        bounds = await self._parts.log.bounds([TopicPartition(topic, n) for n in range(count)])
        return {partition: bound.end for partition, bound in bounds.items()}

    async def _read_results(self, reader: Reader, sending: asyncio.Task[None]) -> None:
        """Report results until all files are sent, the agents are done, and nothing is left to read."""
        while True:
            done = sending.done() and not (self._waiting and await self._backlog())
            records = await reader.read(max_records=RESULTS_AT_ONCE, wait_seconds=POLL_SECONDS)
            for record in records:
                self._answer(record)
            if done and not records:
                break
        await self._settled()

    def _answer(self, record: Record) -> None:
        event = decode_stored("binary", record.value)
        file = self._waiting.pop(event.source.references.get(PATH_REFERENCE, ""), None) if event else None
        if event is not None and file is not None:
            found = finding_of(event.entity)
            self._report(Found(file.shown, "new", file.size_bytes, found, found.problem))
            self._room.release()

    async def _send(self, paths: Sequence[Path]) -> None:
        files = files_below(paths)
        while chunk := await asyncio.to_thread(lambda: list(itertools.islice(files, FILES_AT_ONCE))):
            read = await asyncio.gather(*(asyncio.to_thread(_read, path) for path in chunk))
            good = []
            for path, file in zip(chunk, read, strict=True):
                if isinstance(file, _File):
                    good.append((file, self._event(file)))
                else:
                    self._report(Found(_shown(path), "failed", problem=file.strerror or str(file)))
            await self._send_unknown(good)

    async def _send_unknown(self, files: Sequence[tuple[_File, BinaryEvent]]) -> None:
        """Store and announce the files the index does not know; answer the others from it."""
        ids = [self._document_id(event) for _, event in files]
        routes = {name: event.entity.sha256 for name, (_, event) in zip(ids, files, strict=True)}
        known = await self._parts.index.get("binary2", routes)
        await self._report_known(
            [file for name, (file, _) in zip(ids, files, strict=True) if name in known]
        )
        new = [each for name, each in zip(ids, files, strict=True) if name not in known]
        for file, _ in new:
            await self._room.acquire()
            self._waiting[file.shown] = file
        await asyncio.gather(*(self._store(file) for file, _ in new))
        prefix = self._parts.settings.events.prefix
        await self._parts.log.append([record_of(prefix, event) for _, event in new])

    async def _store(self, file: _File) -> None:
        key = stream_key(SOURCE, CONTENT, file.digest.sha256)
        await self._parts.objects.put(key, file.path if file.data is None else file.data)

    async def _report_known(self, files: Sequence[_File]) -> None:
        if not files:
            return
        hashes = tuple({file.digest.sha256 for file in files})
        where = And(
            (Term("sha256", hashes), Term("action", (ENRICHED,)), Term("author.name", (AUTHOR.name,)))
        )
        page = await self._parts.index.search("binary2", Query(where, limit=limits.SEARCH_PAGE_MAX))
        findings = {hit.body["sha256"]: finding_of_document(hit.body) for hit in page.hits}
        for file in files:
            found = findings.get(file.digest.sha256)
            problem = found.problem if found else NO_ANSWER
            self._report(Found(file.shown, "known", file.size_bytes, found, problem))

    def _document_id(self, event: BinaryEvent) -> str:
        """Name the document of a submission; it is there exactly when the file was scanned before."""
        settings = self._parts.settings.search
        documents = documents_of(
            event, sources=self._parts.sources, default_security=settings.default_security
        )
        return documents[-1].id

    def _event(self, file: _File) -> BinaryEvent:
        return sourced_event(
            file.digest,
            source_name=SOURCE,
            filename=file.shown,
            references={PATH_REFERENCE: file.shown},
            source_timestamp=file.modified,
            now=self._parts.clock.now(),
        )


def _read(path: Path) -> _File | OSError:
    """Read what a file's event needs; an error is an answer, because the other files go on."""
    try:
        with path.open("rb") as handle:
            about = os.fstat(handle.fileno())
            data = handle.read(SMALL_FILE_BYTES + 1)
            if len(data) <= SMALL_FILE_BYTES:
                digest, whole = hash_bytes(data), data
            else:
                hasher = Hasher()
                while data:
                    hasher.feed(data)
                    data = handle.read(SMALL_FILE_BYTES)
                digest, whole = hasher.digest(), None
    except OSError as error:
        return error
    modified = dt.datetime.fromtimestamp(int(about.st_mtime), dt.UTC)
    return _File(path, _shown(path), digest.size_bytes, modified, digest, whole)


def _shown(path: Path) -> str:
    """Give a path as text; bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")
