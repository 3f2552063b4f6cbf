"""The parser pool: files go in, what is known about them comes out, whatever a file does to its parser.

Guarantees that a file which hangs, eats memory or crashes its parser process costs that process and nothing
else: the file's result says what happened and still has its hashes, files handed to the same process are
handed to another, the next file is unaffected. A change of the rules folder replaces the processes one for
one while they work; each result names the rules it was made with. Design section 4.8.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import structlog

from pipeline import limits, limits_archive
from pipeline.clock import Clock, SystemClock
from pipeline.errors import Unavailable
from pipeline.identify.item import BlocksItem, Cause, Death, FileItem, Item, TextsItem
from pipeline.identify.messages import Setup
from pipeline.identify.parser import Events, Parser, start_parser
from pipeline.identify.result import Identified, RuleReport
from pipeline.identify.rules_folder import fingerprint, shipped_rules
from pipeline.identify.texts import KNOWN, Extract
from pipeline.settings import Settings

T = TypeVar("T")
log = structlog.get_logger(__name__)

_ITEMS_PER_PROCESS = 32
_WATCH_SECONDS = 0.5


class PoolStatistics(NamedTuple):
    """The state of the pool at one moment."""

    processes: int
    """Parser processes that work or could."""
    waiting: int
    """Files no process has been handed yet."""
    in_work: int
    """Files in the hands of a process."""
    deaths: int
    """Processes that ended without being asked to."""
    rules: RuleReport
    """The newest rule set in use, and the rule files left out of it."""


class ParserPool:
    """A fixed number of parser processes; an async context manager.

    Args:
        processes: How many; 0 for one a core.
        rules_folder: Where the user's YARA rules are; None for the shipped ones.
        clock: Measures the time limits.
        timeout_seconds: Longest time for one file; a large one gets more, see `limits`.
        memory_bytes: Address space one process may add while it works.
        yara_scan_max_bytes: How much of a file the user's rules see.
    """

    def __init__(
        self,
        *,
        processes: int = 0,
        rules_folder: Path | None = None,
        clock: Clock | None = None,
        timeout_seconds: float = limits.PARSE_TIMEOUT_SECONDS,
        memory_bytes: int = limits.PARSE_MEMORY_BYTES,
        yara_scan_max_bytes: int = limits.YARA_SCAN_MAX_BYTES,
    ) -> None:
        self._clock = clock or SystemClock()
        self._rules_folder = shipped_rules() if rules_folder is None else rules_folder
        self._setup = Setup(
            parent=os.getpid(),
            rules_folder=str(self._rules_folder),
            memory_bytes=memory_bytes,
            timeout_seconds=timeout_seconds,
            yara_scan_max_bytes=yara_scan_max_bytes,
            yara_timeout_seconds=max(1, min(limits.YARA_TIMEOUT_SECONDS, int(timeout_seconds / 2))),
        )
        self._watch_seconds = min(_WATCH_SECONDS, timeout_seconds / 4)
        self._slots: list[Parser | None] = [None] * (processes or os.cpu_count() or 1)
        self._parsers: set[Parser] = set()
        """Every process that lives, also those that only finish what they have."""
        self._waiting: deque[Item] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._fingerprint = ""
        self._fingerprints: dict[Parser, str] = {}
        self._report = RuleReport()
        self._swapped = asyncio.Event()
        self._deaths = 0
        self._failed_starts = 0
        self._closing = False

    @property
    def window(self) -> int:
        """How many files are worth handing in at once."""
        return _ITEMS_PER_PROCESS * len(self._slots)

    @property
    def process_ids(self) -> list[int]:
        """The ids of all living parser processes."""
        return sorted(parser.pid for parser in self._parsers)

    def statistics(self) -> PoolStatistics:
        """Return the state of the pool."""
        return PoolStatistics(
            processes=sum(parser is not None for parser in self._slots),
            waiting=len(self._waiting),
            in_work=sum(len(parser.pending) for parser in self._parsers),
            deaths=self._deaths,
            rules=self._report,
        )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Begin to start the processes; files may be handed in at once."""
        self._fingerprint = await asyncio.to_thread(fingerprint, self._rules_folder)
        self._tasks = [asyncio.create_task(self._keep(slot)) for slot in range(len(self._slots))]
        self._tasks += [asyncio.create_task(self._watch_time()), asyncio.create_task(self._watch_rules())]

    async def close(self) -> None:
        """End every process; files not answered yet fail with `Unavailable`. Safe to repeat."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(parser.stop() for parser in list(self._parsers)))
        self._refuse_waiting("the parser pool was closed")

    async def identify(self, path: Path) -> Identified:
        """Say everything about a file.

        A file that costs its process gets a result with a `problem` in it instead of an error.

        Raises:
            NotFound: There is no such file.
            BadInput: It is not a regular file, or may not be read.
            Unavailable: No parser process can be started, the pool is closed, or the disk does not answer.
        """
        answered: asyncio.Future[Identified] = asyncio.get_running_loop().create_future()
        self._hand_in(FileItem(path, answered))
        return await answered

    async def media_types(self, blocks: Sequence[bytes]) -> list[str]:
        """Tell the MIME type of each block, the start of a payload.

        Of a block no more than `limits.PARSER_BLOCKS_BYTES` are looked at.

        Raises:
            ParserFailure: One of them broke the parser; ask for each alone to find out which.
            Unavailable: No parser process can be started, or the pool is closed.
        """
        starts = [block[: limits.PARSER_BLOCKS_BYTES] for block in blocks]
        asked = [self._mimes_of(some) for some in _portions(starts, len)]
        return [mime for told in await asyncio.gather(*asked) for mime in told]

    async def _mimes_of(self, blocks: Sequence[bytes]) -> list[str]:
        answered: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._hand_in(BlocksItem(blocks, answered))
        return await answered

    async def texts(self, payloads: Sequence[tuple[str, bytes]], max_characters: int) -> list[Extract]:
        """Find the text of each payload, given after its media type: so many characters at most.

        Those of types without text, and those larger than `limits_archive.TEXT_PAYLOAD_MAX_BYTES`, are not
        looked at: they have an empty one that is not complete.

        Raises:
            ParserFailure: One of them broke the parser; ask for each alone to find out which.
            Unavailable: No parser process can be started, or the pool is closed.
        """
        readable = [
            media_type in KNOWN and len(payload) <= limits_archive.TEXT_PAYLOAD_MAX_BYTES
            for media_type, payload in payloads
        ]
        asked = itertools.compress(payloads, readable)
        portions = _portions(asked, lambda typed: len(typed[1]))
        found = await asyncio.gather(*(self._texts_of(some, max_characters) for some in portions))
        extracts = itertools.chain.from_iterable(found)
        return [next(extracts) if read else Extract("", complete=False) for read in readable]

    async def _texts_of(self, payloads: Sequence[tuple[str, bytes]], max_characters: int) -> list[Extract]:
        answered: asyncio.Future[list[Extract]] = asyncio.get_running_loop().create_future()
        self._hand_in(TextsItem(payloads, max_characters, answered))
        return await answered

    async def reload_rules(self) -> RuleReport:
        """Look at the rules folder now, and return when every process works with what is in it."""
        self._fingerprint = await asyncio.to_thread(fingerprint, self._rules_folder)
        while stale := self._stale():
            for parser in stale:
                if parser is not None:
                    parser.outlived.set()
            self._swapped.clear()
            await self._swapped.wait()
        return self._report

    def _stale(self) -> list[Parser | None]:
        return [p for p in self._slots if p is None or self._fingerprints[p] != self._fingerprint]

    # --- handing out files ---

    def _hand_in(self, item: Item) -> None:
        if self._closing:
            raise Unavailable(f"identify {item.name}", "the parser pool was closed")
        self._waiting.append(item)
        self._feed()

    def _feed(self) -> None:
        """Hand waiting files to processes with room, the emptiest first."""
        while self._waiting:
            free = [parser for parser in self._slots if parser is not None and parser.has_room]
            if not free:
                return
            self._hand_over(min(free, key=lambda parser: len(parser.pending)))

    def _hand_over(self, parser: Parser) -> None:
        item = self._waiting.popleft()
        if item.wanted:
            parser.submit(item)

    def _on_free(self, parser: Parser) -> None:
        if parser.served >= limits.PARSER_ITEMS:
            parser.outlived.set()
        while self._waiting and parser.has_room:
            self._hand_over(parser)

    def _on_ended(self, parser: Parser, death: Death) -> None:
        self._parsers.discard(parser)
        self._fingerprints.pop(parser, None)
        if parser in self._slots:
            self._slots[self._slots.index(parser)] = None
        items = list(parser.pending)
        if death.cause is not Cause.ASKED:
            self._deaths += 1
            item = items[0].name if items else None
            log.warning("parser process lost", cause=death.cause.value, why=death.why, item=item)
            if items and not items[0].survive(death):
                items.pop(0)
        self._waiting.extendleft(reversed(items))
        self._feed()

    def _refuse_waiting(self, why: str) -> None:
        while self._waiting:
            item = self._waiting.popleft()
            item.fail(Unavailable(f"identify {item.name}", why, "hand it in again later"))

    # --- keeping the processes ---

    async def _keep(self, slot: int) -> None:
        """Keep one process in a slot for ever; its successor is ready before it is relieved."""
        while True:
            parser = await self._start_patiently()
            previous, self._slots[slot] = self._slots[slot], parser
            if previous is not None:
                previous.retire()
            self._swapped.set()
            self._feed()
            await parser.outlived.wait()

    async def _start_patiently(self) -> Parser:
        pause_seconds = limits.PARSER_PAUSE_SECONDS
        while True:
            try:
                return await self._start()
            except Unavailable as error:
                self._failed_starts += 1
                log.warning(
                    "waiting for a parser process", reason=str(error), again_in_seconds=pause_seconds
                )
                if self._failed_starts >= limits.PARSER_STARTS and not any(self._slots):
                    self._refuse_waiting(str(error))
            await self._clock.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, limits.PARSER_PAUSE_MAX_SECONDS)

    async def _start(self) -> Parser:
        rules = self._fingerprint
        parser, ready = await start_parser(self._setup, self._clock, Events(self._on_free, self._on_ended))
        self._parsers.add(parser)
        self._fingerprints[parser] = rules
        self._failed_starts = 0
        for sentence in ready.not_enforced:
            log.warning("parser process not fully confined", reason=sentence)
        if ready.report != self._report:
            self._report = ready.report
            for one in ready.report.quarantined:
                log.warning("rule file left out", file=one.file, line=one.line, why=one.message)
        return parser

    async def _watch_time(self) -> None:
        while True:
            await self._clock.sleep(self._watch_seconds)
            for parser in list(self._parsers):
                parser.check()

    async def _watch_rules(self) -> None:
        while True:
            await self._clock.sleep(limits.RULES_CHECK_SECONDS)
            await self.reload_rules()


def _portions(pieces: Iterable[T], size_bytes_of: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Cut a list of pieces into messages of a moderate size; a large piece is one by itself."""
    portion: list[T] = []
    size_bytes = 0
    for piece in pieces:
        more_bytes = size_bytes_of(piece)
        if portion and size_bytes + more_bytes > limits.PARSER_BLOCKS_BYTES:
            yield portion
            portion, size_bytes = [], 0
        portion.append(piece)
        size_bytes += more_bytes
    if portion:
        yield portion


def parser_pool(settings: Settings, clock: Clock) -> ParserPool:
    """Make the pool the settings ask for."""
    chosen = settings.parser
    own_rules = settings.data_folder / "rules"
    folder = Path(chosen.rules).expanduser() if chosen.rules else own_rules if own_rules.is_dir() else None
    return ParserPool(
        processes=chosen.processes,
        rules_folder=folder,
        clock=clock,
        timeout_seconds=chosen.timeout_seconds,
        memory_bytes=chosen.memory_bytes,
        yara_scan_max_bytes=chosen.yara_scan_max_bytes,
    )
