"""Which topics are archived at the moment (archive contract, section 3).

What the log lists, minus the veto list, as far as the settings choose it and the policy allows it.
The set is looked up by whoever owns it, on a timer; it changes at no other time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import structlog

from pipeline import metrics_archive
from pipeline.archive.source import liveness
from pipeline.archive.source.policy import TopicPolicy, is_glob
from pipeline.clock import Clock
from pipeline.errors import HeadraceError
from pipeline.log.port import Log
from pipeline.settings import ArchiveSettings

log = structlog.get_logger(__name__)

KAFKA_INTERNAL = "__"
"""Begins the names of topics that are never archived."""


class TopicSet:
    """The topics to archive, with their numbers of partitions.

    Args:
        source: The log that has them, open.
        policy: Says what may be archived.
        chosen: The settings.
        clock: Gives the time.
        named: When there are any, only these topics.
        usual: Globs that count when neither `named` nor the settings choose.
    """

    def __init__(
        self,
        source: Log,
        policy: TopicPolicy,
        chosen: ArchiveSettings,
        clock: Clock,
        *,
        named: Sequence[str] = (),
        usual: Sequence[str] = ("*",),
    ) -> None:
        self._source = source
        self._policy = policy
        self._chosen = chosen
        self._clock = clock
        self._wanted = tuple(named or chosen.topics or usual)
        self._learned = False
        self._refreshed: float | None = None
        self._missing: set[str] = set()
        self._topics: dict[str, int] = {}

    @property
    def topics(self) -> Mapping[str, int]:
        """The set as it was found last; empty before the first `refresh`."""
        return self._topics

    @property
    def age_seconds(self) -> float | None:
        """Time since the last `refresh` that succeeded; None before the first."""
        return None if self._refreshed is None else self._clock.monotonic() - self._refreshed

    async def refresh(self) -> Mapping[str, int]:
        """Look again and return the set, sorted by name; it may be empty.

        When the policy cannot be learned its last rules count; when it never could there is no set, because
        nobody has said yet what may be archived.

        Raises:
            Unavailable: The log does not answer, or the policy never did.
            SettingError: The policy was never readable.
        """
        await self._learn()
        topics = await self.look()
        changed = self._refreshed is None or topics.keys() != self._topics.keys()
        self._topics = topics
        self._refreshed = self._clock.monotonic()
        if changed:
            log.info("topics to archive", count=len(topics), topics=list(topics)[:20])
            await self._write("topics_file", self._chosen.topics_file, self._append)
        await self._write("liveness_file", self._chosen.liveness_file, liveness.write)
        return topics

    async def look(self) -> dict[str, int]:
        """Return what the set would be now by the policy as it is known; the set stays as it is.

        Raises:
            Unavailable: The log does not answer.
        """
        return self._choose(await self._source.topics())

    async def _learn(self) -> None:
        try:
            await self._policy.refresh()
        except HeadraceError as error:
            if not self._learned:
                raise
            log.warning("the last topic policy stays", reason=str(error))
        self._learned = True

    def _choose(self, listed: Mapping[str, int]) -> dict[str, int]:
        """Sort topics out, and show in the metric what became of them."""
        names = matching(self._wanted, listed)
        left = unvetoed(names, self._chosen.veto)
        archived = [name for name in left if self._policy.rule(name).archivable]
        missing = self._look_for_missing(listed)
        states = {
            "archived": len(archived),
            "vetoed": len(names) - len(left),
            "refused": len(left) - len(archived),
            "missing": missing,
        }
        for state, count in states.items():
            metrics_archive.TOPICS.labels(state).set(count)
        return {name: listed[name] for name in archived}

    def _look_for_missing(self, listed: Mapping[str, int]) -> int:
        """Tell, once each, of topics that are to be archived and are not there or not shown to us."""
        named = [name for name, rule in (self._policy.named() or {}).items() if rule.archivable]
        named += [name for name in self._wanted if name not in named]
        known = {name for name in named if not is_glob(name)}
        missing = set(unvetoed(matching(self._wanted, known), self._chosen.veto)) - listed.keys()
        for name in sorted(missing - self._missing):
            log.error("a topic to archive is not listed by the log", topic=name)
        self._missing = missing
        return len(missing)

    def _append(self, file: Path) -> None:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(f"{self._clock.now().isoformat()} {','.join(self._topics)}\n")

    async def _write(self, setting: str, name: str, write: Callable[[Path], None]) -> None:
        """Write a file for operators; without it the archive goes on."""
        if not name:
            return
        try:
            await asyncio.to_thread(lambda: write(Path(name).expanduser()))
        except OSError as error:
            log.warning("cannot write", setting=f"archive.{setting}", file=name, reason=error.strerror)


def matching(globs: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return the names that match one of the globs and do not belong to Kafka itself, sorted."""
    return sorted(name for name in names if not name.startswith(KAFKA_INTERNAL) and _any(globs, name))


def unvetoed(names: Iterable[str], veto: Iterable[str]) -> list[str]:
    """Return the names no glob of a veto list matches, in order."""
    return [name for name in names if not _any(veto, name)]


def _any(globs: Iterable[str], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
