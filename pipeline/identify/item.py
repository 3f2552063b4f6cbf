"""One file on its way through the parser pool, and what becomes of it when its process dies."""

from __future__ import annotations

import asyncio
import enum
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline import metrics
from pipeline.errors import HeadraceError, ParserCrash, ParserFailure, ParserMemory, ParserTimeout
from pipeline.identify.result import Identified, Problem

CRASH_TRIES = 2
"""A file is blamed for a crash when its process died on it so often; once may have come from outside."""


class Cause(enum.Enum):
    """Why a parser process ended; the value is the word the metric uses."""

    ASKED = "asked"
    """It was told to, and had nothing left to do."""
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASH = "crash"


class Death(NamedTuple):
    """The end of a parser process."""

    cause: Cause
    why: str
    """One sentence with exit code or signal and the end of its standard error."""


_FAILURES: dict[Cause, type[ParserFailure]] = {
    Cause.TIMEOUT: ParserTimeout,
    Cause.MEMORY: ParserMemory,
    Cause.CRASH: ParserCrash,
}


class Item:
    """A file to identify and the future its caller waits for."""

    def __init__(self, path: Path, answered: asyncio.Future[Identified]) -> None:
        self.path = path
        self.answered = answered
        self.parse = True
        self._crashes = 0
        self._problem: Problem | None = None

    def succeed(self, identified: Identified) -> None:
        """Hand the result to the caller, with what happened on the way to it."""
        if self._problem is not None:
            identified = msgspec.structs.replace(identified, problem=self._problem)
        else:
            metrics.PARSED.labels("ok").inc()
        if not self.answered.done():
            self.answered.set_result(identified)

    def fail(self, error: HeadraceError) -> None:
        """Hand an error to the caller: the file could not be read at all."""
        metrics.PARSED.labels("refused").inc()
        if not self.answered.done():
            self.answered.set_exception(error)

    def survive(self, death: Death) -> bool:
        """Take note that the process died on this file; True when the file is to be handed in again.

        After a crash it gets a second try. After that, or when it ran out of time or memory, only its
        hashes are asked for; when even these cannot be had, the caller gets a result without any.
        """
        self._crashes += death.cause is Cause.CRASH
        if self.parse and death.cause is Cause.CRASH and self._crashes < CRASH_TRIES:
            return True
        if self._problem is None:
            error = _FAILURES[death.cause](f"parse {self.path}", death.why, "only its hashes are known")
            self._problem = Problem(type(error).__name__, str(error))
            metrics.PARSED.labels(death.cause.value).inc()
        if self.parse:
            self.parse = False
            return True
        self.succeed(Identified())
        return False
