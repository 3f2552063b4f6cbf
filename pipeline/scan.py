"""A scan: files of this machine through the whole pipeline, and what it found out about each.

Guarantees that a file which was scanned before, under the same path, time and content, is not sent again
and is answered from the index, so that an interrupted scan goes on where it stopped. The agents run beside
it in the same process; results are read back from the log as they become durable.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline import limits
from pipeline.app import Parts
from pipeline.errors import BadInput, NotFound
from pipeline.events.codec import decode_stored
from pipeline.events.models import BinaryEvent
from pipeline.events.names import CONTENT, ENRICHED
from pipeline.events.records import record_of
from pipeline.events.topics import binary_topic
from pipeline.hub.inserts import any_insert
from pipeline.identify.enrichment import AUTHOR, Finding, finding_of, finding_of_document
from pipeline.index.document_binary import binary_id
from pipeline.index.query import And, Query, Term
from pipeline.log.port import Reader, Record, TopicPartition
from pipeline.objects.keys import stream_key
from pipeline.scan_files import File, Unread, files_below, read
from pipeline.submission import sourced_event

SOURCE = "scan"
PATH_REFERENCE = "path"
FILES_AT_ONCE = 64
"""Files whose bytes may be on their way into the store at the same time."""
FILES_OUTSTANDING = 4096
"""Files announced and not answered yet."""
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


class _Key(NamedTuple):
    """What an enriched event says of the file it is about."""

    path: str
    sha256: str


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
        self._announced: dict[_Key, list[File]] = {}
        """Files whose event is durable, or is just being written, and which have no answer yet."""
        self._underway: set[_Key] = set()
        """Those whose event is just being written."""
        self._answered = asyncio.Event()

    async def run(self, paths: Sequence[Path]) -> None:
        """Send every file that is not known and report what is found out about each.

        Ends when every file has its answer and the agents have nothing left to do.

        Raises:
            Unavailable: A part does not answer. StorageFull: There is no room.
        """
        await self._settled()
        await self._parts.index.refresh()
        reader = self._parts.log.reader(await self._ends())
        sending = asyncio.create_task(self._send(paths))
        try:
            await self._read_results(reader, sending)
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await reader.close()
        await self._settled()

    async def _settled(self) -> None:
        while await self._backlog():  # noqa: ASYNC110 - the offsets are in the log, for all workers
            await asyncio.sleep(POLL_SECONDS)

    async def _ends(self) -> dict[TopicPartition, int]:
        topic = binary_topic(self._parts.settings.events.prefix, SOURCE, ENRICHED)
        count = (await self._parts.log.topics())[topic]
        bounds = await self._parts.log.bounds([TopicPartition(topic, n) for n in range(count)])
        return {partition: bound.end for partition, bound in bounds.items()}

    async def _read_results(self, reader: Reader, sending: asyncio.Task[None]) -> None:
        """Report results until all files are sent and nothing is left to read, or sending failed."""
        while True:
            sent = sending.done()
            if sent and sending.exception() is not None:
                return  # what was announced is answered from the index next time
            if await self._read(reader):
                continue
            unanswered = [
                file for key in self._announced.keys() - self._underway for file in self._announced[key]
            ]
            if unanswered and await self._backlog():
                continue
            # The agents are done with these files; what they found out, if anything, can be read now.
            ends = await self._ends()
            while any(reader.positions()[place] < end for place, end in ends.items()):
                await self._read(reader)
            self._give_up(unanswered)
            if sent:
                return

    async def _read(self, reader: Reader) -> bool:
        records = await reader.read(max_records=RESULTS_AT_ONCE, wait_seconds=POLL_SECONDS)
        for record in records:
            self._answer(record)
        return bool(records)

    def _answer(self, record: Record) -> None:
        event = decode_stored("binary", record.value)
        if event is None:
            return
        key = _Key(event.source.references.get(PATH_REFERENCE, ""), event.entity.sha256)
        found = finding_of(event.entity)
        for file in self._announced.pop(key, ()):
            self._report(Found(file.shown, "new", file.size_bytes, found, found.problem))
        self._answered.set()

    def _give_up(self, files: Iterable[File]) -> None:
        for file in files:
            if self._announced.pop(_key(file), None) is not None:
                self._report(Found(file.shown, "failed", file.size_bytes, problem=NO_ANSWER))
        self._answered.set()

    async def _send(self, paths: Sequence[Path]) -> None:
        files = files_below(paths)
        while found := await asyncio.to_thread(_read_next, files):
            for file in found:
                if not isinstance(file, File):
                    self._report(Found(file.shown, "failed", problem=file.problem))
            await self._send_unknown([(f, self._event(f)) for f in found if isinstance(f, File)])

    async def _send_unknown(self, files: Sequence[tuple[File, BinaryEvent]]) -> None:
        """Store and announce the files the index does not know; answer the others from it."""
        ids = [self._document_id(event) for _, event in files]
        routes = {name: event.entity.sha256 for name, (_, event) in zip(ids, files, strict=True)}
        known = await self._parts.index.get("binary2", routes)
        await self._report_known(
            [file for name, (file, _) in zip(ids, files, strict=True) if name in known]
        )
        new = [each for name, each in zip(ids, files, strict=True) if name not in known]
        problems = await asyncio.gather(*(self._store(file) for file, _ in new))
        # True from here: the objects are durable, and no event names them yet.
        stored = []
        for each, problem in zip(new, problems, strict=True):
            if problem:
                self._report(Found(each[0].shown, "failed", each[0].size_bytes, problem=problem))
            else:
                stored.append(each)
        await self._announce(stored)

    async def _announce(self, files: Sequence[tuple[File, BinaryEvent]]) -> None:
        while len(self._announced) > FILES_OUTSTANDING:
            self._answered.clear()
            await self._answered.wait()
        prefix = self._parts.settings.events.prefix
        records = [record_of(prefix, event) for _, event in files]
        for file, _ in files:
            self._announced.setdefault(_key(file), []).append(file)
            self._underway.add(_key(file))
        await self._parts.log.append(records)
        self._underway.clear()

    async def _store(self, file: File) -> str:
        """Store the bytes; return why they cannot be, which is no matter of the other files."""
        key = stream_key(SOURCE, CONTENT, file.digest.sha256)
        try:
            await self._parts.objects.put(key, file.source())
        except (BadInput, NotFound) as error:
            return error.why
        return ""

    async def _report_known(self, files: Sequence[File]) -> None:
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
        return binary_id(event, self._parts.sources, self._parts.settings.search.default_security)

    def _event(self, file: File) -> BinaryEvent:
        return sourced_event(
            file.digest,
            source_name=SOURCE,
            filename=file.shown,
            references={PATH_REFERENCE: file.shown},
            source_timestamp=file.modified,
            now=self._parts.clock.now(),
        )


async def agents_needed(parts: Parts) -> list[str]:
    """Name the agents a scan runs: those of the settings, without `inject` while nothing is declared.

    What it did not read then waits for the next worker, which passes over it.
    """
    prefix = parts.settings.events.prefix
    names = parts.settings.worker.agents
    if "inject" in names and not await any_insert(parts.log, prefix):
        return [name for name in names if name != "inject"]
    return list(names)


def _read_next(files: Iterator[Path]) -> list[File | Unread]:
    """List some files, then read them, one after the other.

    All in one thread: several would only take the interpreter's lock from each other.
    """
    listed = list(itertools.islice(files, FILES_AT_ONCE))
    return [read(path) for path in listed]


def _key(file: File) -> _Key:
    return _Key(file.shown, file.digest.sha256)
