"""The index on an OpenSearch cluster.

Guarantees the same answers as `pipeline.index.sqlite` to the same query tree. Documents are durable when
`put` returns (the server syncs its translog for every request) and found by `search` after the index's
refresh interval or a call of `refresh`. Contract: metastore sections 3 and 4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import QueryError
from pipeline.index import bulk, dsl, marks, templates
from pipeline.index.acceptance import accept
from pipeline.index.bulk import Item, Outcome
from pipeline.index.checks import check_group, check_query
from pipeline.index.names import Layout
from pipeline.index.opensearch_calls import Connection, Server
from pipeline.index.places import Places
from pipeline.index.port import Document, Hit, Page, Refused
from pipeline.index.query import Family, Group, Query
from pipeline.index.schema import FAMILIES, schema_of

_OPEN_GROUP = "features_map"


class OpenSearchIndex:
    """An index in OpenSearch.

    Args:
        connection: How to reach the server.
        layout: Names and sizes of the indices.
    """

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self.url = connection.url
        self._server = Server(connection)
        self._layout = layout
        self._places = Places(self._server, layout)
        self._dropped: dict[Family, frozenset[str]] = {}
        self._vectors = False

    async def open(self) -> None:
        """Connect; write templates and make base indices where they are missing.

        Raises:
            Unavailable: The server does not answer.
            SettingError: Its templates are of another version.
        """
        await self._prepare(force=False)

    async def force_templates(self) -> None:
        """Write all templates and mappings again, whatever their version. Fields can only be added.

        Raises:
            QueryError: A field would have to change its type.
        """
        await self._prepare(force=True)

    async def close(self) -> None:
        """Close the connections; safe to repeat."""
        await self._server.close()

    async def put(self, documents: Sequence[Document]) -> list[Refused]:
        """Write documents; those that can never be taken are returned."""
        if not documents:
            return []
        items, refused = await asyncio.to_thread(self._items, documents)
        outcome = await self._send(items)
        refused += outcome.refused
        refused += await self._send_unmapped(outcome.unmapped)
        gone = {each.id for each in refused}
        await self._places.keep_newest([item for item in items if item.document.id not in gone])
        return refused

    async def get(self, family: Family, ids: Mapping[str, str | None]) -> dict[str, dict[str, Any]]:
        """Return the bodies of the documents that exist, by id, as last put."""
        found: dict[str, dict[str, Any]] = {}
        versions: dict[str, int] = {}
        for row in await self._places.fetch(await self._places.of(family, ids), source=True):
            id_, version = row["_id"], row["_version"]
            if version > versions.get(id_, -1):
                versions[id_], found[id_] = version, _body(row)
        return found

    async def search(self, family: Family, query: Query) -> Page:
        """Return one page of hits.

        Raises:
            QueryError: The query makes no sense.
        """
        schema = schema_of(family)
        condition = check_query(query, schema)
        mark = marks.read_mark(family, query, condition)
        body = {
            "query": dsl.clause(condition, schema),
            "sort": dsl.sort_list(query.sort, schema),
            "size": query.limit + 1,
            "track_total_hits": True,
            **({"search_after": mark} if mark else {}),
        }
        answer = await self._ask("search", family, body)
        rows = answer["hits"]["hits"]
        hits = [Hit(row["_id"], _body(row)) for row in rows[: query.limit]]
        more = len(rows) > query.limit
        following = (
            marks.make_mark(family, query, condition, rows[query.limit - 1]["sort"]) if more else None
        )
        return Page(hits, answer["hits"]["total"]["value"], following)

    async def group(self, family: Family, group: Group) -> list[tuple[str, int]]:
        """Return the values of a field with the number of documents that have each.

        Exact while no shard has more than `limits.GROUP_SHARD_SIZE` distinct values.

        Raises:
            QueryError: The field or the condition makes no sense.
        """
        schema = schema_of(family)
        condition = check_group(group, schema)
        body = {
            "query": dsl.clause(condition, schema),
            "size": 0,
            "aggs": {"groups": dsl.aggregation(group)},
        }
        answer = await self._ask("group", family, body)
        buckets = answer["aggregations"]["groups"]["buckets"]
        return [(str(each.get("key_as_string", each["key"])), each["doc_count"]) for each in buckets]

    async def refresh(self) -> None:
        """Make everything written so far visible to searches."""
        names = ",".join(self._layout.alias(family) for family in FAMILIES)
        await self._server.call("refresh", lambda client: client.indices.refresh(index=names))

    async def _prepare(self, *, force: bool) -> None:
        await asyncio.to_thread(lambda: [schema_of(family) for family in FAMILIES])  # reads files, once
        self._server.open()
        self._vectors = await templates.has_vectors(self._server)
        for family in FAMILIES:
            self._dropped[family] = frozenset() if self._vectors else templates.vector_fields(family)
            await templates.ensure(self._server, family, self._layout, vectors=self._vectors, force=force)

    def _items(self, documents: Sequence[Document]) -> tuple[list[Item], list[Refused]]:
        accepted, refused = accept(documents)
        items = [
            bulk.make_item(
                document,
                body,
                self._layout.index(document),
                self._dropped.get(document.family, frozenset()),
            )
            for document, body in accepted
        ]
        return items, refused

    async def _send(self, items: Sequence[Item]) -> Outcome:
        whole = Outcome()
        for some in bulk.requests(items):
            whole.add(await self._places.bulk(some))
        return whole

    async def _send_unmapped(self, unmapped: Sequence[tuple[Item, str]]) -> list[Refused]:
        """Make fields of the feature names seen for the first time, then send their documents once more."""
        items = [item for item, _ in unmapped]
        names = {name for item in items for name in item.document.body.get(_OPEN_GROUP) or ()}
        if not names:
            return [Refused(item.document.id, reason) for item, reason in unmapped]
        try:
            await templates.add_open_fields(
                self._server, self._layout.alias("binary2"), _OPEN_GROUP, sorted(names)
            )
        except QueryError as error:  # there is room for no more fields
            return [Refused(item.document.id, str(error)) for item in items]
        outcome = await self._send(items)
        return outcome.refused + [Refused(item.document.id, reason) for item, reason in outcome.unmapped]

    async def _ask(self, name: str, family: Family, body: Mapping[str, Any]) -> Any:
        alias = self._layout.alias(family)
        # Half an answer would be taken for the whole one.
        params = {"allow_partial_search_results": "false"}
        return await self._server.call(
            name, lambda client: client.search(index=alias, body=body, params=params)
        )


def _body(row: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = row["_source"]
    body.pop("document_id", None)
    return body
