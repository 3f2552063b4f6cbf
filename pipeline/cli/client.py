"""The way commands reach a Headrace: over HTTP, to a running one or to one started for the command.

`connection` takes the server named by the setting `api`, else the one that holds the data folder, else it
opens the parts in this process and serves them on a private socket. Commands cannot tell the difference.
Failures come back as the errors of `pipeline.errors` they were on the other side.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from pipeline import errors, limits
from pipeline.settings import Settings
from pipeline.web import presence
from pipeline.web.archive_problems import ArchiveProblem
from pipeline.web.problems import Problem, words

_KINDS: Mapping[str, type[errors.HeadraceError]] = {
    words(kind): kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.HeadraceError)
}
_BY_STATUS: Mapping[int, type[errors.HeadraceError]] = {
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.Unavailable,
}

_SOCKET_FOLDER_MAX_BYTES = 80


class Client:
    """Requests to one Headrace.

    Args:
        session: Where they go through.
        url: Base of every path, without a slash at its end.
        is_local: Whether the server lives in this process and ends with the command.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, *, is_local: bool) -> None:
        self._session = session
        self._url = url
        self.is_local = is_local

    async def get(self, path: str, **query: Any) -> Any:
        """Return the JSON answer to a GET. Query values of None are left out."""
        async with self._request("GET", path, query, headers={"Accept": "application/json"}) as response:
            return await response.json()

    async def post(
        self,
        path: str,
        body: AsyncIterable[bytes] | bytes | None = None,
        *,
        size_bytes: int | None = None,
        **query: Any,
    ) -> Any:
        """Return the JSON answer to a POST. `size_bytes` is the length of a streamed body."""
        headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
        if size_bytes is not None:
            headers["Content-Length"] = str(size_bytes)
        async with self._request("POST", path, query, body=body, headers=headers) as response:
            return await response.json()

    @asynccontextmanager
    async def download(self, path: str, **query: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the answer to a GET while its bytes arrive."""
        async with self._request("GET", path, query) as response:
            yield response

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        params = {name: str(value) for name, value in query.items() if value is not None}
        tried = f"ask {self._url} to {method} {path}"
        try:
            async with self._session.request(
                method, self._url + path, params=params, data=body, headers=headers
            ) as response:
                if response.status >= 400:  # noqa: PLR2004 - where errors begin in HTTP
                    raise await _error(tried, response)
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise errors.Unavailable(tried, why, "see whether it runs; `headrace up` starts one") from error


def segment(text: str) -> str:
    """Quote text for use as one segment of a path."""
    return quote(text, safe="")


@asynccontextmanager
async def connection(settings: Settings) -> AsyncIterator[Client]:
    """Connect to the Headrace these settings mean.

    Raises:
        Unavailable: The server named by the setting `api`, or a part, cannot be reached.
        Conflict: Another process that is no server holds the data folder.
    """
    async with AsyncExitStack() as stack:
        url = await running(settings)
        yield await (_own(stack, settings) if url is None else _remote(stack, url))


async def ask(settings: Settings, path: str, **query: Any) -> Any:
    """Connect, get one path, return its JSON. Raises as `connection` and `Client.get`."""
    async with connection(settings) as client:
        return await client.get(path, **query)


async def running(settings: Settings) -> str | None:
    """Return the URL of the Headrace these settings mean, None when none runs.

    The server named by the setting `api` is taken at its word; the one of the data folder must answer,
    because its note may outlive it.
    """
    if settings.api:
        return settings.api.rstrip("/")
    note = await asyncio.to_thread(presence.find, settings.data_folder)
    return note.url if note is not None and await _answers(note.url) else None


async def _remote(stack: AsyncExitStack, url: str) -> Client:
    session = await stack.enter_async_context(aiohttp.ClientSession(timeout=_timeout(), trust_env=True))
    return Client(session, url, is_local=False)


async def _own(stack: AsyncExitStack, settings: Settings) -> Client:
    from pipeline.app import make_parts, open_parts
    from pipeline.web.server import serve_socket

    parts = await stack.enter_async_context(open_parts(make_parts(settings)))
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-", dir=_short_folder()))
    path = Path(folder, "api")
    await stack.enter_async_context(serve_socket(parts, path))
    connector = aiohttp.UnixConnector(str(path))
    session = await stack.enter_async_context(
        aiohttp.ClientSession(connector=connector, timeout=_timeout())
    )
    return Client(session, "http://localhost", is_local=True)


def _short_folder() -> str:
    """Return a folder for temporary files whose path leaves room in the 108 bytes of a socket name."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) < _SOCKET_FOLDER_MAX_BYTES else "/tmp"  # noqa: S108


async def _answers(url: str) -> bool:
    """Tell whether a Headrace is there; the process id of a dead one may have been given out again."""
    timeout = aiohttp.ClientTimeout(total=limits.PROBE_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{url}/healthz") as response,
        ):
            return response.status == 200  # noqa: PLR2004
    except (aiohttp.ClientError, TimeoutError):
        return False


def _timeout() -> aiohttp.ClientTimeout:
    """Bound connecting and silence, not the whole: an object takes as long as it takes."""
    return aiohttp.ClientTimeout(
        total=None,
        sock_connect=limits.PROBE_SECONDS,
        sock_read=max(limits.WEB_REQUEST_SECONDS, limits.WEB_BODY_IDLE_SECONDS) * 2,
    )


async def _error(tried: str, response: aiohttp.ClientResponse) -> errors.HeadraceError:
    """Make the error an answer tells of; whatever answered may be something else than Headrace."""
    try:
        problem = msgspec.json.decode(await response.read(), type=Problem)
    except msgspec.DecodeError:
        kind = _BY_STATUS.get(response.status, errors.HeadraceError)
        return kind(tried, f"it answered {response.status} {await _said(response)}")
    kind = _KINDS.get(problem.error) or _BY_STATUS.get(response.status) or _general(response.status)
    todo = f"look for {problem.id} in its log" if problem.id else problem.todo
    return kind(problem.tried, problem.why, todo)


async def _said(response: aiohttp.ClientResponse) -> str:
    """Return what an answer says that is no `Problem`: those of the archive have a message."""
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(await response.read(), type=ArchiveProblem).message
    return response.reason or ""


def _general(status: int) -> type[errors.HeadraceError]:
    return errors.BadInput if status < 500 else errors.HeadraceError  # noqa: PLR2004
