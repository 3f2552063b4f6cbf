"""What the lists of the archive are asked for (archive contract, section 17.1).

Parameters nobody knows are ignored; of one given more than once the last counts, but for topics.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from pipeline import limits_archive
from pipeline.archive import listing
from pipeline.archive.access import access
from pipeline.archive.access.users import User
from pipeline.archive.listing import Wanted
from pipeline.web.archive_problems import Refused
from pipeline.web.context import archive_policy_of, parts_of
from pipeline.web.routes import Asked

A = TypeVar("A", bound=Asked)
Time = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class FilterAsked(Asked, frozen=True, forbid_unknown_fields=False):
    """Which messages are meant."""

    start_time: Annotated[Time | None, Meta(description="Earliest time, ms since 1970 UTC.")] = None
    end_time: Annotated[Time | None, Meta(description="Time before which they are, in ms.")] = None
    include_retracted: Annotated[bool, Meta(description="Also those that were retracted.")] = True


class TopicAsked(FilterAsked, frozen=True, forbid_unknown_fields=False):
    """A page of the messages of one topic."""

    page: Annotated[str, Meta(description="`next` or `prev` of another page.")] = ""
    limit: Annotated[
        int,
        Meta(description="Most messages; lowered to 64, with `meta` to 1024."),
    ] = limits_archive.ARCHIVE_LIST_MESSAGES
    asc: Annotated[bool, Meta(description="The earliest first.")] = True
    meta: Annotated[bool, Meta(description="What is known about the messages, without their payloads.")] = (
        False
    )


class SearchAsked(FilterAsked, frozen=True, forbid_unknown_fields=False):
    """Which messages are counted."""

    topic: Annotated[
        tuple[str, ...], Meta(description="Of this topic only; may be given several times.")
    ] = ()
    search_query: Annotated[str, Meta(description="Words of their text, as in a web search.")] = ""


class MessagesAsked(TopicAsked, frozen=True, forbid_unknown_fields=False):
    """A page of messages of several topics, or of all."""

    topic: Annotated[
        tuple[str, ...], Meta(description="Of this topic only; may be given several times.")
    ] = ()
    search_query: Annotated[str, Meta(description="Words of their text, as in a web search.")] = ""


def read_query(request: web.Request, kind: type[A]) -> A:
    """Read the query of a request.

    Raises:
        Refused: A parameter cannot be read (400).
    """
    values: dict[str, Any] = dict(request.query)
    if "topic" in values:
        values["topic"] = request.query.getall("topic")
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(400, f"Invalid parameter: {error}") from None


def page_limit(asked: TopicAsked) -> int:
    """Return how many messages a page may have.

    Raises:
        Refused: None were asked for (400).
    """
    if asked.limit <= 0:
        raise Refused(400, "Invalid message count limit")
    return min(
        asked.limit,
        limits_archive.ARCHIVE_LIST_MESSAGES_MAX if asked.meta else limits_archive.ARCHIVE_LIST_MESSAGES,
    )


async def wanted_of(
    request: web.Request, user: User | None, asked: FilterAsked, topics: frozenset[str] | None
) -> Wanted:
    """Return which messages a list is of: those asked for that the caller may see.

    Raises:
        Refused: The times are in the wrong order (400). Unavailable: The database does not answer.
    """
    if asked.start_time is not None and asked.end_time is not None and asked.end_time < asked.start_time:
        raise Refused(400, "Invalid time range")
    names: list[str] | frozenset[str] = topics or frozenset()
    if user is not None and not names:
        names = await listing.topic_names(parts_of(request).database)
    return Wanted(
        # No topic's name has such a character, and PostgreSQL takes none.
        topics=None if topics is None else frozenset(topic for topic in topics if "\0" not in topic),
        start_ms=asked.start_time,
        end_ms=asked.end_time,
        include_retracted=asked.include_retracted,
        search=asked.search_query if isinstance(asked, MessagesAsked | SearchAsked) else "",
        private_topics=access.readable(user, names, archive_policy_of(request)),
    )
