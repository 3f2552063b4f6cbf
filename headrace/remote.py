"""The hub over HTTP. Contract: dispatcher sections 3, 8, 10, 16, 26.

Each call has a time limit and is repeated a bounded number of times, except the fetch: repeating it is for
the runner, which pauses in between, and a task whose answer was lost comes again by itself.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
from msgspec.structs import replace
from yarl import URL

from headrace import files
from headrace.hub import Fetched, StreamName, Subscription
from pipeline import __version__, limits
from pipeline.errors import BadInput, Damaged, HeadraceError, NotFound, Unavailable
from pipeline.events.binary import BinaryEvent
from pipeline.events.codec import encode_as_posted
from pipeline.events.models import model_of
from pipeline.events.parts import Datastream
from pipeline.events.plugin import PluginEvent
from pipeline.events.status import StatusEvent
from pipeline.outside import call

T = TypeVar("T")

_AGED_OFF: Final = "ErrorStringEnumAllEventsAgedOffImmediately"
_LOCAL: Final = frozenset(("127.0.0.1", "::1", "localhost"))
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)
_EMPTY: Final = "bytes */0"
_OK, _PARTIAL, _MISSING, _NO_RANGE, _TOO_EARLY, _SERVER_ERRORS = 200, 206, 404, 416, 425, 500


class _Info(msgspec.Struct, frozen=True):
    filtered: int = 0
    fetched: int = 0
    ready: bool = True
    paused: bool = False


class _Events(msgspec.Struct, frozen=True):
    events: tuple[BinaryEvent, ...] = ()


class _Uploaded(msgspec.Struct, frozen=True):
    data: Datastream


class _Failure(msgspec.Struct, frozen=True):
    error: str = ""


class _Published(msgspec.Struct, frozen=True):
    total_failures: int = 0
    failures: tuple[_Failure, ...] | None = ()


class _Problem(msgspec.Struct, frozen=True):
    title: str = ""
    detail: str = ""
    error_enum: str = ""


class RemoteHub:
    """A hub at a URL. Implements `headrace.hub.Hub`.

    Args:
        session: What requests go through.
        url: Base of every path, without a slash at its end.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def fetch(self, wanted: Subscription) -> Fetched:
        """Take one task, waiting at the hub for up to `limits.PLUGIN_FETCH_SECONDS`."""

        async def attempt() -> Fetched:
            async with self._request("GET", "/api/v2/event/binary/active", params=_query(wanted)) as answer:
                return await _fetched(answer)

        return await self._call("fetch", attempt, limits.PLUGIN_FETCH_TIMEOUT_SECONDS, attempts=1)

    async def read(self, stream: StreamName, into: Path, size_bytes: int) -> None:
        """Write a stream to a file, range by range, each tried again when it fails."""
        first, total = 0, 1
        while first < total:
            part = partial(self._part, stream, into, first)
            first, total = await self._call("read", part, _seconds(size_bytes))
        if await files.sha256_of(into) != stream.sha256:
            raise Damaged(f"read {stream.label} {stream.sha256}", "its bytes have another hash")

    async def upload(self, stream: StreamName, path: Path) -> Datastream:
        """Store a file; the hub refuses it when bytes were lost on the way."""
        size_bytes = (await asyncio.to_thread(path.stat)).st_size
        place = f"/api/v3/stream/{stream.source}/{stream.label}"
        headers = {"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"}
        query = {"expected-sha256": stream.sha256}

        async def attempt() -> Datastream:
            async with (
                files.opened(path, "rb") as file,
                self._request(
                    "POST", place, params=query, data=files.chunks(file), headers=headers
                ) as answer,
            ):
                return msgspec.json.decode(await answer.read(), type=_Uploaded).data

        stored = await self._call("upload", attempt, _seconds(size_bytes))
        return replace(stored, label=stream.label)

    async def publish(
        self, event: PluginEvent | StatusEvent, *, attempts: int = limits.CALL_ATTEMPTS
    ) -> None:
        """Publish one event. One that is older than its source keeps is wanted by nobody, and counts."""
        body = b"[%b]" % await asyncio.to_thread(encode_as_posted, event)
        query = {"model": model_of(event), "sync": "true"}
        headers = {"Content-Type": "application/json"}

        async def attempt() -> None:
            try:
                async with self._request(
                    "POST", "/api/v2/event", params=query, data=io.BytesIO(body), headers=headers
                ) as answer:
                    published = msgspec.json.decode(await answer.read(), type=_Published)
            except _AgedOff:
                return
            if published.total_failures:
                why = "; ".join(failure.error for failure in published.failures or ())
                raise BadInput(f"publish a {query['model']} event", why, "correct the plugin")

        await self._call("publish", attempt, _seconds(len(body)), attempts=attempts)

    async def _part(self, stream: StreamName, into: Path, first: int) -> tuple[int, int]:
        """Write the bytes from `first` on, as many as one answer has; return its end and the size."""
        place = f"/api/v3/stream/{stream.source}/{stream.label}/{stream.sha256}"
        headers = {"Range": f"bytes={first}-{first + limits.PLUGIN_RANGE_BYTES - 1}"}
        async with self._request("GET", place, headers=headers) as answer:
            begin, total = _span(answer, first)
            # An empty stream has no range; what comes then is the text of a refusal.
            content = answer.content.iter_chunked(limits.CHUNK_BYTES) if total else _nothing()
            end = await files.write(into, begin, content)
        if answer.status == _OK:
            total = end  # the whole of it; one that was cut short shows in its hash
        elif end <= begin < total:
            raise Unavailable(f"read {place}", "an answer came without bytes")
        return end, total

    @asynccontextmanager
    async def _request(self, method: str, place: str, **how: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and give its answer when it is a good one.

        Raises:
            Unavailable, NotFound, BadInput: It is not.
        """
        tried = f"{method} {self._url}{place}"
        try:
            async with self._session.request(method, self._url + place, **how) as answer:
                if answer.status not in {_OK, _PARTIAL} and answer.headers.get("Content-Range") != _EMPTY:
                    raise await _refusal(tried, answer)
                yield answer
        except aiohttp.ClientError as error:
            why = str(error) or type(error).__name__
            raise Unavailable(tried, why, "see whether it is up and reachable") from error
        except msgspec.DecodeError as error:
            raise Unavailable(
                tried, f"its answer makes no sense: {error}", "see what listens there"
            ) from error

    async def _call(
        self,
        name: str,
        attempt: Callable[[], Awaitable[T]],
        timeout_seconds: float,
        *,
        attempts: int = limits.CALL_ATTEMPTS,
    ) -> T:
        return await call("hub", name, attempt, timeout_seconds=timeout_seconds, attempts=attempts)


class _AgedOff(HeadraceError):
    """The event is older than its source keeps."""


@asynccontextmanager
async def connect(url: str, plugin: str) -> AsyncIterator[RemoteHub]:
    """Give the hub at a URL; nothing is asked of it yet.

    Args:
        url: Such as ``http://127.0.0.1:8111``.
        plugin: Who asks; the hub logs it with errors.
    """
    headers = {"User-Agent": f"headrace-plugin/{__version__} {plugin}"}
    # A proxy of the environment is no way to this machine.
    proxied = URL(url).host not in _LOCAL
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.PROBE_SECONDS)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=proxied) as session:
        yield RemoteHub(session, url.rstrip("/"))


def _query(wanted: Subscription) -> list[tuple[str, str]]:
    """Write a subscription as parameters; what is empty is left out, lists are repeated."""
    flags = {
        "r-expedite": True,
        "r-live": True,
        "r-historic": wanted.historic,
        "d-self": not wanted.own_results,
    }
    single = {
        "name": wanted.name,
        "version": wanted.version,
        "count": "1",
        "deadline": str(limits.PLUGIN_FETCH_SECONDS),
        "r-under-content-size": str(wanted.content_max_bytes or ""),
        "max-security": wanted.max_security,
        **{name: "true" for name, on in flags.items() if on},
    }
    lists = {"r-source": wanted.sources, "r-action": wanted.actions, "r-streams": wanted.streams}
    query = [(name, value) for name, value in single.items() if value]
    return query + [(name, value) for name, values in lists.items() for value in values]


async def _fetched(answer: aiohttp.ClientResponse) -> Fetched:
    """Read the two parts of an answer, by their names."""
    parts: dict[str, bytes] = {}
    try:
        reader = aiohttp.MultipartReader.from_response(answer)
        while (part := await reader.next()) is not None:
            if isinstance(part, aiohttp.BodyPartReader):
                parts[part.name or ""] = bytes(await part.read(decode=True))
        info = msgspec.json.decode(parts["info"], type=_Info)
        events = msgspec.json.decode(parts["events"], type=_Events).events
    except (ValueError, KeyError, AssertionError) as error:  # aiohttp asserts what it expects of a stranger
        why = f"{type(error).__name__}: {error}"
        raise Unavailable("read the answer to a fetch", why, "see what listens there") from error
    return Fetched(events, info.filtered, info.ready, info.paused)


def _span(answer: aiohttp.ClientResponse, first: int) -> tuple[int, int]:
    """Return where the bytes of an answer belong, and how many there are altogether."""
    if answer.status == _OK:
        return 0, 1  # everything, however much it is
    said = answer.headers.get("Content-Range", "")
    if said == _EMPTY:
        return 0, 0
    match = _RANGE.fullmatch(said)
    if match is None or int(match[1]) != first:
        raise Unavailable("read a stream", f"asked for bytes from {first}, it answered {said[:100]!r}")
    return first, int(match[3])


async def _nothing() -> AsyncIterator[bytes]:
    for _ in ():
        yield b""


async def _refusal(tried: str, answer: aiohttp.ClientResponse) -> HeadraceError:
    """Make the error an answer tells of."""
    try:
        problem = msgspec.json.decode(await answer.read(), type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(f"{answer.status} {answer.reason}")
    why = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
    if answer.status == _MISSING:
        return NotFound(tried, why)
    if answer.status == _TOO_EARLY and problem.error_enum == _AGED_OFF:
        return _AgedOff(tried, why)
    return Unavailable(tried, why) if answer.status >= _SERVER_ERRORS else BadInput(tried, why)


def _seconds(size_bytes: int) -> float:
    """Return how long a call may take that moves so many bytes."""
    return limits.PLUGIN_CALL_SECONDS + size_bytes / limits.PLUGIN_BYTES_PER_SECOND
