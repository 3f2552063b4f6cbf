"""Calls to OpenSearch: each through `pipeline.outside.call`, each error as one of ours.

What may pass by itself (no connection, overload, a node missing) is `Unavailable` and tried again; refused
credentials too, because records must wait for them rather than be put aside.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
import orjson
from opensearchpy import AsyncOpenSearch, exceptions
from opensearchpy.serializer import JSONSerializer

from pipeline import limits, outside
from pipeline.errors import HeadraceError, QueryError, StorageFull, TooLarge, Unavailable

T = TypeVar("T")

_BUSY: Final = (Unavailable, "it is overloaded or starting; wait, or give it more room")
_CREDENTIALS: Final = (Unavailable, "check the user and password in the setting `index`")
_KINDS: Final[dict[int | str, tuple[type[HeadraceError], str]]] = {
    400: (QueryError, ""),
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    404: (Unavailable, "its indices are gone; start again to make them"),
    408: _BUSY,
    413: (TooLarge, ""),
    429: _BUSY,
    502: _BUSY,
    503: _BUSY,
    504: _BUSY,
}
"""What a status of an answer means, and what to do."""
BLOCKED: Final = "cluster_block_exception"
"""What a server answers to writes when its disk is nearly full."""


class Connection(msgspec.Struct, frozen=True):
    """How to reach OpenSearch. `url` holds no credentials."""

    url: str
    username: str = ""
    password: str = ""
    verify_certificates: bool = True


class _Serializer(JSONSerializer):  # type: ignore[misc]
    """Answers decoded by orjson; a page of large documents must not hold up the event loop."""

    def loads(self, data: Any) -> Any:
        return orjson.loads(data)


class Server:
    """The one client of a process. `call` is the only way to it."""

    def __init__(self, connection: Connection) -> None:
        self.url = connection.url
        self._connection = connection
        self._client: AsyncOpenSearch | None = None

    def open(self) -> None:
        """Make the client; connects at the first call."""
        if self._client is None:
            known = self._connection
            self._client = AsyncOpenSearch(
                hosts=[known.url],
                http_auth=(known.username, known.password) if known.username else None,
                verify_certs=known.verify_certificates,
                ssl_show_warn=False,
                serializer=_Serializer(),
                max_retries=0,
                timeout=2 * limits.INDEX_CALL_TIMEOUT_SECONDS,
            )

    async def close(self) -> None:
        """Close the connections; safe to repeat."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def call(self, name: str, attempt: Callable[[AsyncOpenSearch], Awaitable[T]]) -> T:
        """Run one call, again while its error may pass.

        Raises:
            Unavailable: The server does not answer, is overloaded or refuses our credentials.
            StorageFull: It takes no more documents.
            QueryError: It does not understand the request.
            TooLarge: The request is larger than it takes.
        """
        client = self._client
        if client is None:
            raise Unavailable(f"{name} on the index", "it is not open")

        async def explained() -> T:
            try:
                return await attempt(client)
            except exceptions.TransportError as error:
                raise _explain(f"{name} on OpenSearch at {self.url}", error) from error

        return await outside.call(
            "index", name, explained, timeout_seconds=limits.INDEX_CALL_TIMEOUT_SECONDS
        )


def reason_of(error: Any) -> str:
    """Return what an error object of OpenSearch says, down to its cause."""
    texts = []
    while isinstance(error, dict):
        texts.append(str(error.get("reason", error.get("type", ""))))
        error = error.get("caused_by")
    return ": ".join(text for text in texts if text) or str(error)


def _explain(tried: str, error: exceptions.TransportError) -> HeadraceError:
    info = error.info if isinstance(error.info, dict) else {}
    problem = info.get("error")
    causes = problem.get("root_cause", []) if isinstance(problem, dict) else []
    why = reason_of(causes[0] if causes else problem) if problem else str(error.error)
    kinds = {cause.get("type") for cause in causes} | {str(error.error)}
    if BLOCKED in kinds:
        return StorageFull(tried, why, "free space on its disks, then remove the block")
    if isinstance(error, exceptions.ConnectionError):
        return Unavailable(tried, str(error.info or error.error), "see whether it is up and reachable")
    kind, todo = _KINDS.get(error.status_code, (HeadraceError, ""))
    return kind(tried, f"{error.status_code}: {why}", todo)
