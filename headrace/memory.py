"""A hub in this process, with nothing running: hands out files it was given, keeps what comes back.

It filters, refuses and splits as the hub does, with the same code where there is any, so that what passes
here passes there. Contract: dispatcher sections 4, 5, 9, 12.
"""

from __future__ import annotations

import asyncio
import functools
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from headrace.hub import Fetched, StreamName, Subscription
from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import NotFound
from pipeline.events import times, validity
from pipeline.events.binary import BinaryEntity, BinaryEvent
from pipeline.events.names import AUGMENTED, CONTENT, CURRENT, IN_PROGRESS, SOURCED
from pipeline.events.parts import Author, Datastream, Feature, PathNode, Source
from pipeline.events.plugin import PluginEvent
from pipeline.events.produce import split_results
from pipeline.events.records import completed
from pipeline.events.status import StatusEvent

if TYPE_CHECKING:
    from pipeline.identify.identifier import Identifier

SUBMITTER = Author(name="headrace-testing", category="user")


class MemoryHub:
    """A hub in this process. Implements `headrace.hub.Hub`.

    Attributes:
        registered: Plugins that made themselves known.
        statuses: Every status that came, heartbeats too, without results.
        events: What came of the results, complete, in the order the hub would write them.
        refused: Why events were not handed out, in the words of the contract (section 12).
    """

    def __init__(self, clock: Clock) -> None:
        self.registered: list[PluginEvent] = []
        self.statuses: list[StatusEvent] = []
        self.events: list[BinaryEvent] = []
        self.refused: list[str] = []
        self._clock = clock
        self._waiting: deque[BinaryEvent] = deque()
        self._bytes: dict[StreamName, bytes | Path] = {}

    async def submit(
        self,
        data: bytes | Path,
        *,
        filename: str = "",
        source: str = "testing",
        references: Mapping[str, str] | None = None,
        streams: Mapping[str, bytes | Path] | None = None,
    ) -> BinaryEvent:
        """Put a file into the queue as a client would that has uploaded it; return its event.

        With `streams`, derived ones by label, it is an augmented event.
        """
        stored = [await self._store(source, CONTENT, data)]
        stored += [await self._store(source, label, more) for label, more in (streams or {}).items()]
        now = times.text_of(self._clock.now())
        content = stored[0]
        shared = set(BinaryEntity.__struct_fields__) & set(Datastream.__struct_fields__)
        named = (Feature(name="filename", value=filename, type="filepath"),) if filename else ()
        action = AUGMENTED if streams else SOURCED
        node = PathNode(
            author=SUBMITTER,
            action=action,
            sha256=content.sha256,
            timestamp=now,
            file_format=content.file_format,
            size=content.size,
            filename=filename,
        )
        event = BinaryEvent(
            model_version=CURRENT,
            timestamp=now,
            author=SUBMITTER,
            source=Source(name=source, references=dict(references or {}), path=(node,), timestamp=now),
            entity=BinaryEntity(
                **{name: getattr(content, name) for name in shared},
                features=named,
                datastreams=tuple(stored),
            ),
            action=action,
        )
        return self.put(event)

    def put(self, event: BinaryEvent) -> BinaryEvent:
        """Put an event into the queue; return it complete.

        Raises:
            EventInvalid: It breaks a rule of its model.
        """
        validity.check(event)
        self._waiting.append(completed(event))
        return self._waiting[-1]

    def bytes_of(self, stream: StreamName) -> bytes:
        """Return what is stored. Raises `NotFound`."""
        data = self._found(stream)
        return data.read_bytes() if isinstance(data, Path) else data

    async def fetch(self, wanted: Subscription) -> Fetched:
        """Hand out the next event the plugin wants."""
        filtered = 0
        while self._waiting:
            event = self._waiting.popleft()
            reason = refusal(wanted, event)
            if not reason:
                task = f"{event.kafka_key}.{wanted.name}.{wanted.version}.{int(self._clock.unix())}"
                return Fetched((replace(event, dequeued=task),), filtered)
            self.refused.append(reason)
            filtered += 1
        return Fetched((), filtered)

    async def read(self, stream: StreamName, into: Path, size_bytes: int) -> None:
        """Copy a stream into a file."""
        del size_bytes
        data = self._found(stream)
        if isinstance(data, Path):
            await asyncio.to_thread(shutil.copyfile, data, into)
        else:
            await asyncio.to_thread(into.write_bytes, data)

    async def upload(self, stream: StreamName, path: Path) -> Datastream:
        """Keep the bytes of a file."""
        return await self._store(stream.source, stream.label, await asyncio.to_thread(path.read_bytes))

    async def publish(
        self, event: PluginEvent | StatusEvent, *, attempts: int = limits.CALL_ATTEMPTS
    ) -> None:
        """Keep an event when it is valid; results of a success become events of their own."""
        del attempts
        validity.check(event)
        if isinstance(event, PluginEvent):
            self.registered.append(completed(event))
            return
        status, results = split_results(event)
        self.statuses.append(completed(status))
        self.events += map(completed, results)

    @property
    def final(self) -> list[StatusEvent]:
        """The statuses that ended a task."""
        return [status for status in self.statuses if status.entity.status not in IN_PROGRESS]

    async def _store(self, source: str, label: str, data: bytes | Path) -> Datastream:
        loop = asyncio.get_running_loop()
        described = await loop.run_in_executor(_identifying(), _describe, data, label)
        self._bytes[StreamName(source, label, described.sha256)] = data
        return described

    def _found(self, stream: StreamName) -> bytes | Path:
        data = self._bytes.get(stream)
        if data is None:
            raise NotFound(f"read {stream.source}/{stream.label}/{stream.sha256}")
        return data


def refusal(wanted: Subscription, event: BinaryEvent) -> str:
    """Say why a plugin is not handed an event; empty when it is. Contract: section 12, step 4."""
    if wanted.sources and event.source.name not in wanted.sources:
        return "reject_source"
    if event.action not in wanted.actions:
        return "reject_event_type"
    if not wanted.own_results and event.author.name == wanted.name:
        return "reject_self"
    return _stream_refusal(wanted, event.entity.datastreams)


def _stream_refusal(wanted: Subscription, streams: tuple[Datastream, ...]) -> str:
    allowed = {label: formats for label, *formats in (entry.split(",") for entry in wanted.streams)}
    for stream in streams:
        if stream.label == CONTENT and 0 < wanted.content_max_bytes < stream.size:
            return "reject_content_too_large"
        formats = allowed.get(stream.label)
        if allowed and formats is None:
            return "reject_stream"
        if formats and not stream.file_format.startswith(tuple(formats)):
            return "reject_file_format"
    if len(streams) < len(allowed) and len(allowed) > 1:
        return "reject_stream"
    labels = {stream.label for stream in streams}
    return "reject_no_content" if wanted.content_max_bytes and CONTENT not in labels else ""


@functools.cache
def _identifying() -> ThreadPoolExecutor:
    """Give the one thread that identifies: what it uses may neither move to another one nor end in one."""
    return ThreadPoolExecutor(1, thread_name_prefix="headrace-identify")


_OWN = threading.local()


def _identifier() -> Identifier:
    """Make what identifies files, without rules of the user; takes half a second the first time."""
    from pipeline.identify.formats import shipped_formats
    from pipeline.identify.identifier import Identifier
    from pipeline.identify.magic import Magic
    from pipeline.identify.yara import UserRules

    if not hasattr(_OWN, "identifier"):
        _OWN.identifier = Identifier(Magic(), shipped_formats(), UserRules([]))
    found: Identifier = _OWN.identifier
    return found


def _describe(data: bytes | Path, label: str) -> Datastream:
    """Say about bytes what an upload answers, in this process: they are a test's own."""
    if isinstance(data, Path):
        return _describe_file(data.resolve(), label)
    with tempfile.NamedTemporaryFile(prefix="headrace-") as file:
        file.write(data)
        file.flush()
        return _describe_file(Path(file.name), label)


def _describe_file(path: Path, label: str) -> Datastream:
    from pipeline.identify.datastream import datastream
    from pipeline.identify.subject import Subject

    with Subject(str(path)) as subject:
        return datastream(_identifier().identify(subject), label)
