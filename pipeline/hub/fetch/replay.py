"""Tasks whose result is known are not given out: the result is published again, for their source.

Contract: dispatcher section 12, step 7. Two things differ, so that nothing is lost. A result goes below the
event that brought it up with the hops its plugin added (the reference takes the last hop of the remembered
input, which is the file itself: all results would have one key). What cannot be published, because its
bytes are gone or it breaks a rule there, is not replayed: the plugin is given the event.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog
from msgspec.structs import replace

from pipeline.clock import Clock
from pipeline.errors import BadInput, EventError, HeadraceError, NotFound, Unavailable
from pipeline.events import times
from pipeline.events.binary import BinaryEvent, BinaryFlags
from pipeline.events.codec import decode_stored
from pipeline.events.names import CURRENT
from pipeline.events.parts import Source
from pipeline.events.status import StatusEvent
from pipeline.hub.completions import STEP, Completions
from pipeline.hub.fetch.gates import Gate, Held
from pipeline.hub.fetch.taking import Taken
from pipeline.hub.publish import Publisher
from pipeline.hub.wanted import Wanted
from pipeline.metrics_hub import PLUGINS, REPLAYED, REPLAYED_SECONDS
from pipeline.objects.keys import stream_key
from pipeline.objects.port import ObjectStore
from pipeline.objects.streams import copy_stream

CACHED: Final = f"{STEP}-cached"
ERROR: Final = f"{STEP}-error_replay_plugin_completion"

_log = structlog.get_logger(__name__)


class _Hit(NamedTuple):
    """An event with a known result, as it is to be published again; or neither, when it is unreadable."""

    place: int
    status: StatusEvent | None
    results: tuple[BinaryEvent, ...]


class Replay(Gate):
    """Holds back tasks whose result is known, once that is published again and durable.

    What goes out as a task already, for another try, passes.

    Args:
        completions: What is known. The gate closes it.
        publisher: Publishes the results, as it would those of a status.
        objects: Where their bytes are.
        clock: Tells the time the results have.
    """

    step = STEP

    def __init__(
        self, completions: Completions, *, publisher: Publisher, objects: ObjectStore, clock: Clock
    ) -> None:
        self._completions = completions
        self._publisher = publisher
        self._objects = objects
        self._clock = clock

    async def held(self, wanted: Wanted, taken: Sequence[Taken]) -> Held:
        """Say for which events a known result was published.

        A crash after that gives the events again; the same results are then published under the same keys.

        Raises:
            Unavailable: The log or the object store does not answer.
        """
        if wanted.model != "binary" or not wanted.is_task:
            return {}
        await self._completions.ready()
        known = {
            index: status
            for index, each in enumerate(taken)
            if _may_be_known(each)
            and (status := self._completions.get(each.glance.sha256, wanted.name, wanted.version))
        }
        if not known:
            return {}
        values = [(index, taken[index].value, status) for index, status in known.items()]
        hits = await asyncio.to_thread(_hits, values, self._clock.now())
        possible = await asyncio.gather(*(self._prepared(hit) for hit in hits))
        return await self._replayed([hit for hit, may in zip(hits, possible, strict=True) if may])

    async def close(self) -> None:
        """Stop following."""
        await self._completions.close()

    async def _prepared(self, hit: _Hit) -> bool:
        """Put the bytes of the results where they are to be published; say whether all can be.

        A crash after this leaves copies that the results name when they are published.
        """
        try:
            for result in hit.results:
                self._check(result)
                await self._copy(hit, result)
        except (BadInput, NotFound) as error:
            _log.warning("a known result is made anew", reason=str(error))
            return False
        return True

    def _check(self, result: BinaryEvent) -> None:
        if reason := self._publisher.fault(result):
            raise BadInput("publish a known result again", reason)

    async def _copy(self, hit: _Hit, result: BinaryEvent) -> None:
        source = hit.status.entity.input.source.name if hit.status else ""
        target = result.source.name
        if source == target:
            return
        for stream in result.entity.datastreams:
            try:
                await copy_stream(self._objects, stream.label, stream.sha256, source=source, target=target)
            except NotFound:
                if await self._objects.stat(stream_key(target, stream.label, stream.sha256)) is None:
                    raise

    async def _replayed(self, hits: Sequence[_Hit]) -> Held:
        """Publish all results in one go; when one cannot be written, the plugin is given all the events."""
        results = [result for hit in hits for result in hit.results]
        if results:
            try:
                errors = (await self._publisher.publish(results)).errors
            except Unavailable:
                raise
            except HeadraceError as error:
                errors = [str(error)]
            if errors:
                _log.warning("known results are made anew", reason="; ".join(errors))
                return {hit.place: ERROR for hit in hits if hit.status is None}
        for hit in hits:
            if hit.status is not None:
                name = PLUGINS.counted_as(hit.status.author.name)
                REPLAYED.labels(*name).inc()
                REPLAYED_SECONDS.labels(*name).inc(hit.status.entity.runtime)
        return {hit.place: CACHED if hit.status else ERROR for hit in hits}


def _may_be_known(taken: Taken) -> bool:
    return not (taken.retry or taken.dequeued or taken.glance.bypass_cache)


def _hits(values: Sequence[tuple[int, bytes, bytes]], now: dt.datetime) -> list[_Hit]:
    """Decode events with what is known of them; one whose status cannot be read has none.

    An event that cannot be read itself could not be given to its plugin either.
    """
    hits = []
    for index, value, known in values:
        try:
            status = decode_stored("status", known)
        except EventError as error:
            _log.warning("a remembered status cannot be read", reason=str(error))
            continue
        try:
            event = decode_stored("binary", value)
        except EventError as error:
            _log.warning("an event cannot be read", reason=str(error))
            event = None
        if event is None or status is None:
            hits.append(_Hit(index, None, ()))
            continue
        results = tuple(_again(result, status, event, now) for result in status.entity.results)
        hits.append(_Hit(index, status, results))
    return hits


def _again(result: BinaryEvent, status: StatusEvent, event: BinaryEvent, now: dt.datetime) -> BinaryEvent:
    """Make the event that says of a file's other turning up what was found out before."""
    return replace(
        result,
        model_version=CURRENT,
        timestamp=times.text_of(now),
        source=_below(event.source, status.entity.input.source, result.source, times.text_of(now)),
        flags=BinaryFlags(expedite=event.flags.expedite),
    )


def _below(source: Source, before: Source, after: Source, now: str) -> Source:
    """Append to a source what its plugin appended to another one: at least the last hop."""
    first = min(len(before.path), len(after.path) - 1)
    return replace(
        source, path=(*source.path, *(replace(node, timestamp=now) for node in after.path[first:]))
    )
