"""Search: documents by a query, and the values of a field counted."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from pipeline import limits
from pipeline.index.parse import parse
from pipeline.index.port import Page
from pipeline.index.query import And, Condition, Exists, Family, Group, Query, Sort
from pipeline.web.answers import answer
from pipeline.web.context import parts_of
from pipeline.web.routes import Asked, Route, asked

Text = Annotated[
    str,
    Meta(
        max_length=limits.QUERY_MAX_CHARS,
        description="What to look for: `field:value`, `field:>1000`, words; nothing finds everything.",
    ),
]
FamilyAsked = Annotated[Family, Meta(description="Which documents.")]
Limit = Annotated[int, Meta(ge=1, le=limits.SEARCH_PAGE_MAX, description="At most so many.")]


class SearchAsked(Asked, frozen=True):
    """The query of a search."""

    q: Text = ""
    family: FamilyAsked = "binary2"
    sort: Annotated[
        str,
        Meta(max_length=1000, description="Fields to order by, with commas; `-field`: last first."),
    ] = ""
    limit: Limit = 25
    after: Annotated[str, Meta(max_length=8192, description="The `next` of the page before.")] = ""


class GroupsAsked(Asked, frozen=True):
    """The query of a count by value."""

    field: Annotated[str, Meta(min_length=1, max_length=200, description="Whose values to count.")]
    q: Text = ""
    family: FamilyAsked = "binary2"
    limit: Limit = 25


class ValueCount(msgspec.Struct, frozen=True):
    """One value and the number of documents that have it."""

    value: str
    count: int


class Groups(msgspec.Struct, frozen=True):
    """Values of a field, most frequent first."""

    field: str
    groups: list[ValueCount]


def condition(text: str, family: Family) -> Condition:
    """Read a search; the parent documents, which join those of one file and say nothing, are left out."""
    wanted = parse(text, family)
    return And((Exists("sha256"), wanted)) if family == "binary2" else wanted


def sorts(text: str) -> tuple[Sort, ...]:
    """Read ``-timestamp,sha256`` into an order."""
    names = [name.strip() for name in text.split(",")]
    return tuple(Sort(name.removeprefix("-"), descending=name.startswith("-")) for name in names if name)


async def search(request: web.Request) -> web.Response:
    """Answer one page of hits."""
    wanted = asked(request, SearchAsked)
    query = Query(
        condition(wanted.q, wanted.family), sorts(wanted.sort), wanted.limit, wanted.after or None
    )
    return answer(await parts_of(request).index.search(wanted.family, query))


async def groups(request: web.Request) -> web.Response:
    """Answer the values of a field with their counts."""
    wanted = asked(request, GroupsAsked)
    found = await parts_of(request).index.group(
        wanted.family, Group(wanted.field, condition(wanted.q, wanted.family), wanted.limit)
    )
    return answer(Groups(wanted.field, [ValueCount(value, count) for value, count in found]))


ROUTES = (
    Route(
        methods=("GET",),
        path="/api/search",
        handler=search,
        summary="Find documents",
        tag="search",
        query=SearchAsked,
        answer=Page,
        errors=(400, 503),
    ),
    Route(
        methods=("GET",),
        path="/api/search/groups",
        handler=groups,
        summary="Count documents by the values of a field",
        tag="search",
        query=GroupsAsked,
        answer=Groups,
        errors=(400, 503),
    ),
)
