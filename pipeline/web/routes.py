"""What a route is: one description from which the router, the parameter check and OpenAPI are made.

Each resource file lists its routes beside its handlers; nothing reaches the router that is not described.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from pipeline.errors import BadInput
from pipeline.objects.keys import is_sha256

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a route, one field a parameter; subclasses carry types, bounds and descriptions."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One route, described."""

    methods: tuple[str, ...]
    path: str
    handler: Handler
    summary: str
    text: str = ""
    """More than the summary says; markdown."""
    tag: str
    query: type[Asked] | None = None
    free_query: tuple[str, str] | None = None
    """Parameters with free names, as (how all of them start, description)."""
    body: tuple[str, ...] = ()
    """Media types of the request body; empty: none."""
    status: int = 200
    answer: Any = None
    """Type of the JSON answer; None when it is not JSON."""
    media: str = "application/json"
    other_media: str = ""
    """Media type of the answer to clients that prefer it."""
    also: tuple[int, ...] = ()
    """Further statuses with the same body."""
    errors: tuple[int, ...] = ()
    """Statuses of the failures a client should know of."""
    problem: Any = None
    """Type of the body of failures; None for the usual one."""
    streams: bool = False
    """Moves an object: the time limit applies to each wait for bytes, not to the whole request."""


PATH_PARTS: Mapping[str, tuple[dict[str, Any], str]] = {
    "sha256": (
        {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
        "SHA-256 of the object, 64 hexadecimal digits.",
    ),
    "source": ({"type": "string", "pattern": "^[^/]+$"}, "Name of the source."),
    "source_a": ({"type": "string", "pattern": "^[^/]+$"}, "Source to copy from."),
    "source_b": ({"type": "string", "pattern": "^[^/]+$"}, "Source to copy to."),
    "model": (
        {"type": "string"},
        "Model of the events: `binary`, `status`, `plugin`, `delete`, `download`, `insert` or `retrohunt`.",
    ),
    "label": ({"type": "string", "pattern": "^[^/]+$"}, "Label of the stream."),
    "topic": ({"type": "string", "pattern": "^[a-zA-Z0-9._-]{1,249}$"}, "Full name of the topic."),
    "partition": ({"type": "integer", "minimum": 0}, "Number of the partition."),
    "offset": ({"type": "integer", "minimum": 0}, "Offset of the record."),
    "key": ({"type": "string", "pattern": "^[0-9a-f]{32}$"}, "Id of the event (its Kafka key)."),
    "identity": ({"type": "string"}, "A hash (SHA-256, SHA-1, MD5), or the id of an event or task."),
    "consumer": ({"type": "string"}, "Consumer key, as listed."),
    "task": ({"type": "string"}, "Id of any try of the task."),
    "entry": ({"type": "string"}, "Id of the parked entry."),
    "word": ({"type": "string"}, "What to tell the task: `hold`, `release`, `requeue` or `hurry`."),
    "item": (
        {"type": "string"},
        "Name of the view: `goroutine`, `threadcreate`, `profile`, `heap` and others.",
    ),
    "file": ({"type": "string"}, "Name of the file."),
    "uuid": ({"type": "string", "format": "uuid"}, "Id of an archived message."),
    "archived_topic": ({"type": "string", "pattern": "^[^/]+$"}, "Name of an archived topic."),
}
"""Schema and description of every placeholder that occurs in a path."""

A = TypeVar("A", bound=Asked)


def asked(request: web.Request, kind: type[A], *, besides: str | None = None) -> A:
    """Read the query of a request into its type.

    Args:
        request: Whose query to read.
        kind: The type declared by the route.
        besides: Parameters that start so are left to the handler.

    Raises:
        BadInput: An unknown or repeated parameter, a wrong type, a value out of bounds.
    """
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if besides is not None and name.startswith(besides):
            continue
        if name in values:
            raise BadInput("read the query", f"parameter {name!r} is given more than once")
        values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        raise BadInput("read the query", str(error), f"parameters here: {known or 'none'}") from None


class Nothing(Asked, frozen=True):
    """The query of a route that takes no parameters."""


def sha256_of(request: web.Request) -> str:
    """Return the hash in the path, in lower case.

    Raises:
        BadInput: It is no SHA-256.
    """
    text = request.match_info["sha256"].lower()
    if not is_sha256(text):
        raise BadInput("read the path", f"{text[:80]!r} is not the 64 hexadecimal digits of a SHA-256")
    return text
