"""One task from its event to its final status.

    depth ─► streams into files ─► the function ─► bytes up ─► one status with all results
               error-input          error-exception   error-output
               error-network        error-timeout     error-network
                                    error-out-of-memory

Guarantees that every task ends with one final status as long as the hub can be reached, that it is told
every `limits.PLUGIN_HEARTBEAT_SECONDS` that the task is worked on, and that no event names bytes that are
not durable. Nothing is kept here: of a task that is cut short, by kill -9 too, the hub hears no more and
hands it out again. Contract: dispatcher sections 4.3, 13, 26.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import structlog
from msgspec.structs import replace

from headrace.files import sha256_of
from headrace.function import Functions, TimeOver
from headrace.hub import Hub, StreamName
from headrace.job import Derived, Job, OptOut
from headrace.plugin import Plugin
from headrace.results import events_of
from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import BadInput, Damaged, HeadraceError, NotFound, Unavailable
from pipeline.events import names
from pipeline.events.binary import BinaryEvent
from pipeline.events.parts import Datastream
from pipeline.events.produce import slim
from pipeline.events.status import StatusEntity, StatusEvent

log = structlog.get_logger(__name__)


class End(NamedTuple):
    """How a task ended, in the words of a status."""

    status: str
    error: str = ""
    message: str = ""
    results: tuple[BinaryEvent, ...] = ()


class Work:
    """Does tasks of one plugin, several at once when asked to.

    Args:
        plugin: Whose tasks.
        hub: Where they come from.
        clock: For times, limits and heartbeats.
    """

    def __init__(self, plugin: Plugin, hub: Hub, clock: Clock) -> None:
        self._plugin = plugin
        self._hub = hub
        self._clock = clock
        self.functions = Functions(plugin, clock)

    async def perform(self, event: BinaryEvent) -> None:
        """Do one task. Whatever goes wrong becomes its status."""
        started = self._clock.monotonic()
        posting = asyncio.Lock()
        beating = asyncio.create_task(self._beat(event, posting))
        try:
            end = await self._end(event)
            async with posting:  # a heartbeat on its way must not arrive behind the final status
                beating.cancel()
            runtime = self._clock.monotonic() - started
            await self._report(event, end, runtime)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self, event: BinaryEvent, posting: asyncio.Lock) -> None:
        while True:
            await self._clock.sleep(limits.PLUGIN_HEARTBEAT_SECONDS)
            async with posting:
                try:
                    await self._publish(event, End(names.HEARTBEAT), 0.0, attempts=1)
                except HeadraceError as error:
                    log.warning("no heartbeat", task=event.dequeued, reason=str(error))

    async def _end(self, event: BinaryEvent) -> End:
        if len(event.source.path) >= limits.PLUGIN_DEPTH_MAX:
            return End(names.OPT_OUT, message=f"it lies {len(event.source.path)} files deep")
        try:
            async with _scratch() as folder:
                return await self._inside(event, folder)
        except Exception as error:  # noqa: BLE001 - the task must end, and this is where it is told why
            return _failed("error-runner", error)

    async def _inside(self, event: BinaryEvent, folder: Path) -> End:
        try:
            job = Job(self._plugin, event, folder, await self._files(event, folder))
        except (NotFound, Damaged, BadInput) as error:
            return _failed("error-input", error)
        except Unavailable as error:
            return _failed(names.ERROR_NETWORK, error)
        raised = await self.functions.run(job)
        if raised is not None:
            return _ended_by(raised)
        try:
            # The bytes first: each upload is durable before an event names it.
            stored = {made: await self._upload(event, made) for made in (*job.streams, *job.children)}
            results = await asyncio.to_thread(events_of, job, stored, self._clock.now())
        except Unavailable as error:
            return _failed(names.ERROR_NETWORK, error)
        except (HeadraceError, OSError, ValueError) as error:
            return _failed("error-output", error)
        return _completed(job, results)

    async def _files(self, event: BinaryEvent, folder: Path) -> dict[str, Path]:
        """Fetch the streams the plugin reads, as far as the event has them."""
        there: dict[str, Datastream] = {}
        for stream in event.entity.datastreams:
            there.setdefault(stream.label, stream)
        files: dict[str, Path] = {}
        for label in self._plugin.streams:
            if label in there:
                files[label] = folder / label
                name = StreamName(event.source.name, label, there[label].sha256)
                await self._hub.read(name, files[label], there[label].size)
        return files

    async def _upload(self, event: BinaryEvent, made: Derived) -> Datastream:
        sha256 = await sha256_of(made.path)
        stored = await self._hub.upload(StreamName(event.source.name, made.label, sha256), made.path)
        if stored.sha256 != sha256:
            raise Damaged(f"upload {sha256}", f"the hub has stored {stored.sha256}")
        return replace(stored, language=made.language)

    async def _report(self, event: BinaryEvent, end: End, runtime: float) -> None:
        """Post the final status. When its results are what is refused, the task still gets its end."""
        if end.status.startswith("error-"):
            log.warning("a task failed", task=event.dequeued, status=end.status, reason=end.error)
        try:
            try:
                await self._publish(event, end, runtime, attempts=limits.PLUGIN_REPORT_ATTEMPTS)
            except BadInput as error:
                if not end.results:
                    raise
                refused = _failed("error-output", error)
                await self._publish(event, refused, runtime, attempts=limits.PLUGIN_REPORT_ATTEMPTS)
        except HeadraceError as error:
            # Not told: for the hub the task lapses, and it is handed out again.
            log.warning("a task could not be ended", task=event.dequeued, reason=str(error))

    async def _publish(self, event: BinaryEvent, end: End, runtime: float, *, attempts: int) -> None:
        entity = StatusEntity(input=slim(event), runtime=round(runtime, 6), **end._asdict())
        status = StatusEvent.authored(self._plugin.author, entity, self._clock.now())
        await self._hub.publish(status, attempts=attempts)


def _completed(job: Job, results: tuple[BinaryEvent, ...]) -> End:
    if job.problems:
        message = _tail("\n".join(job.problems))
        return End("completed-with-errors", _title(job.problems[0]), message, results)
    return End("completed" if results else "completed-empty", results=results)


def _ended_by(error: BaseException) -> End:
    """Say how a function ended that raised something."""
    match error:
        case OptOut():
            return End(names.OPT_OUT, message=_tail(str(error)))
        case TimeOver():
            return End("error-timeout", _title(str(error)))
        case MemoryError():
            return _failed("error-out-of-memory", error)
        case _:
            return _failed("error-exception", error)


def _failed(status: str, error: BaseException) -> End:
    """Tell people what happened: in one line, and with where in their code when it was there."""
    title = str(error) if isinstance(error, HeadraceError) else f"{type(error).__name__}: {error}"
    return End(status, _title(title), _tail("".join(traceback.format_exception(error))))


def _title(text: str) -> str:
    line = text.partition("\n")[0][: limits.PLUGIN_TITLE_CHARACTERS]
    return line.encode(errors="backslashreplace").decode()


def _tail(text: str) -> str:
    """Keep the end, where a traceback says what it is about."""
    return text[-limits.PLUGIN_MESSAGE_CHARACTERS :].encode(errors="backslashreplace").decode()


@asynccontextmanager
async def _scratch() -> AsyncIterator[Path]:
    """Give a folder that is gone afterwards; that of a killed process is left to the system to tidy."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="headrace-job-"))
    try:
        yield folder
    finally:
        # A function that was left behind may still write here; it finds no folder then.
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
