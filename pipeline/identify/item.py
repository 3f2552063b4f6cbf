"""What is handed to a parser process, and what becomes of it when the process dies on it."""

from __future__ import annotations

import asyncio
import enum
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from pipeline import metrics
from pipeline.errors import (
    Damaged,
    HeadraceError,
    ParserCrash,
    ParserFailure,
    ParserMemory,
    ParserTimeout,
)
from pipeline.identify.messages import (
    Answer,
    Asked,
    BlocksRequest,
    Extracted,
    Request,
    Result,
    TextsRequest,
    Told,
)
from pipeline.identify.result import Identified, Problem
from pipeline.identify.texts import Extract

T = TypeVar("T")

_PARSED_WELL = metrics.PARSED.labels("ok")

CRASH_TRIES = 2
"""A file is blamed for a crash when its process died on it so often; once may have come from outside."""


class Cause(enum.Enum):
    """Why a parser process ended; the value is the word the metric uses."""

    ASKED = "asked"
    """It was told to, and had nothing left to do."""
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASH = "crash"


_FAILURES: dict[Cause, type[ParserFailure]] = {
    Cause.TIMEOUT: ParserTimeout,
    Cause.MEMORY: ParserMemory,
    Cause.CRASH: ParserCrash,
}


class Death(NamedTuple):
    """The end of a parser process."""

    cause: Cause
    why: str
    """One sentence with exit code or signal and the end of its standard error."""

    def error(self, tried: str, todo: str) -> ParserFailure:
        """Return it as the error for what the process was doing."""
        return _FAILURES[self.cause](tried, self.why, todo)


class Item(Protocol):
    """Work for a parser process."""

    @property
    def name(self) -> str:
        """What it is about, for people."""

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it."""

    def request(self, number: int) -> Asked:
        """Return the message that asks for it."""

    def succeed(self, reply: Result) -> None:
        """Hand the result to the caller."""

    def fail(self, error: HeadraceError) -> None:
        """Hand an error to the caller."""

    def survive(self, death: Death) -> bool:
        """Take note that the process died on it; True when it is to be handed in again."""


class FileItem:
    """A file to identify. It always gets a result: when it costs its process, one that says so."""

    def __init__(self, path: Path, answered: asyncio.Future[Identified]) -> None:
        self._path = path
        self._answered = answered
        self._parse = True
        self._crashes = 0
        self._problem: Problem | None = None

    @property
    def name(self) -> str:
        """The path."""
        return str(self._path)

    @property
    def wanted(self) -> bool:
        """Whether its caller still waits."""
        return not self._answered.done()

    def request(self, number: int) -> Request:
        """Ask for everything, or for the hashes alone after the file cost a process."""
        return Request(number, os.fsencode(self._path), self._parse)

    def succeed(self, reply: Result) -> None:
        """Hand the result to the caller, with what happened on the way to it."""
        if not isinstance(reply, Answer):
            raise Damaged("take an answer of the parser process", "it answers another question")
        self._finish(reply.identified)

    def fail(self, error: HeadraceError) -> None:
        """Tell the caller that the file could not be read."""
        metrics.PARSED.labels("refused").inc()
        if self.wanted:
            self._answered.set_exception(error)

    def survive(self, death: Death) -> bool:
        """Try again after a first crash; then ask for its hashes alone, as patiently; then go without."""
        self._crashes += death.cause is Cause.CRASH
        if death.cause is Cause.CRASH and self._crashes < CRASH_TRIES:
            return True
        if self._problem is None:
            error = death.error(f"parse {self._path}", "only its hashes are known")
            self._problem = Problem(type(error).__name__, str(error))
            metrics.PARSED.labels(death.cause.value).inc()
        if self._parse:
            self._parse, self._crashes = False, 0
            return True
        self._finish(Identified())
        return False

    def _finish(self, identified: Identified) -> None:
        if self._problem is None:
            _PARSED_WELL.inc()
        else:
            identified = msgspec.structs.replace(identified, problem=self._problem)
        if self.wanted:
            self._answered.set_result(identified)


class BytesItem(ABC, Generic[T]):
    """Bytes that are handed over themselves, many at once, and one thing wanted of each.

    Args:
        count: How many there are.
        answered: Gets what is wanted of each, in order.
    """

    def __init__(self, count: int, answered: asyncio.Future[list[T]]) -> None:
        self._count = count
        self._answered = answered
        self._crashes = 0

    @property
    @abstractmethod
    def name(self) -> str:
        """How many of what they are."""

    @abstractmethod
    def request(self, number: int) -> Asked:
        """Ask for all of them."""

    @abstractmethod
    def taken(self, reply: Result) -> list[T]:
        """Take from a reply what is wanted; nothing when it answers another question."""

    @property
    def wanted(self) -> bool:
        """Whether its caller still waits."""
        return not self._answered.done()

    def succeed(self, reply: Result) -> None:
        """Hand the results to the caller."""
        results = self.taken(reply)
        if len(results) != self._count:
            raise Damaged("take an answer of the parser process", "it answers another question")
        if self.wanted:
            self._answered.set_result(results)

    def fail(self, error: HeadraceError) -> None:
        """Tell the caller why there is no answer."""
        if self.wanted:
            self._answered.set_exception(error)

    def survive(self, death: Death) -> bool:
        """Give them a second try after their first crash; then tell the caller."""
        self._crashes += death.cause is Cause.CRASH
        if death.cause is Cause.CRASH and self._crashes < CRASH_TRIES:
            return True
        self.fail(death.error(f"look at {self.name}", "ask for fewer at once"))
        return False


class BlocksItem(BytesItem[str]):
    """Starts of payloads whose MIME types are asked for."""

    def __init__(self, blocks: Sequence[bytes], answered: asyncio.Future[list[str]]) -> None:
        super().__init__(len(blocks), answered)
        self._blocks = blocks

    @property
    def name(self) -> str:
        """How many they are."""
        return f"{len(self._blocks)} blocks"

    def request(self, number: int) -> BlocksRequest:
        """Ask for the MIME types of all of them."""
        return BlocksRequest(number, self._blocks)

    def taken(self, reply: Result) -> list[str]:
        """Take the MIME types."""
        return reply.mimes if isinstance(reply, Told) else []


class TextsItem(BytesItem[Extract]):
    """Payloads, each after its media type, whose texts are asked for: so many characters at most."""

    def __init__(
        self,
        payloads: Sequence[tuple[str, bytes]],
        max_characters: int,
        answered: asyncio.Future[list[Extract]],
    ) -> None:
        super().__init__(len(payloads), answered)
        self._payloads = payloads
        self._max_characters = max_characters

    @property
    def name(self) -> str:
        """How many they are."""
        return f"the text of {len(self._payloads)} payloads"

    def request(self, number: int) -> TextsRequest:
        """Ask for the texts of all of them."""
        return TextsRequest(number, self._payloads, self._max_characters)

    def taken(self, reply: Result) -> list[Extract]:
        """Take the texts."""
        return reply.extracts if isinstance(reply, Extracted) else []
