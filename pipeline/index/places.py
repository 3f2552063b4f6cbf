"""Where documents are in OpenSearch: which of several indices holds an id, and that only one does.

The time of a status chooses its index, and its security the half. So a later status of the same task can
land in another index than the one it replaces; `Places.keep_newest` takes the older one away. A crash
between writing and taking away leaves both until the batch is put again, which its agent does, because it
has not acknowledged it; `get` answers with the newer one meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from opensearchpy import AsyncOpenSearch, exceptions

from pipeline.index.bulk import Item, Outcome, judge, removal
from pipeline.index.names import Layout
from pipeline.index.opensearch_calls import Server
from pipeline.index.query import Family

Place = tuple[str, str, str | None]
"""Index, id, routing."""

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_GETS_PER_REQUEST: Final = 1000
_REMOVALS_PER_REQUEST: Final = 1000


class Places:
    """Looks up and writes documents by their place."""

    def __init__(self, server: Server, layout: Layout) -> None:
        self._server = server
        self._layout = layout

    async def of(self, family: Family, ids: Mapping[str, str | None]) -> list[Place]:
        """Return every place where documents with these ids may be."""
        if family == "binary2":
            routed = [(id_, routing or id_[:64]) for id_, routing in ids.items()]
            return [
                (self._layout.binary_index(routing), id_, routing)
                for id_, routing in routed
                if _HASH.fullmatch(routing)
            ]
        indices = await self._indices(family) if ids else []
        return [(index, id_, None) for index in indices for id_ in ids]

    async def fetch(self, places: Sequence[Place], *, source: bool) -> list[dict[str, Any]]:
        """Return what stands in these places, as last written; places that are empty are left out."""
        found: list[dict[str, Any]] = []
        for at in range(0, len(places), _GETS_PER_REQUEST):
            wanted = [
                {
                    "_index": index,
                    "_id": id_,
                    "_source": source,
                    **({"routing": routing} if routing else {}),
                }
                for index, id_, routing in places[at : at + _GETS_PER_REQUEST]
            ]

            async def attempt(client: AsyncOpenSearch, wanted: Sequence[Any] = wanted) -> Any:
                return await client.mget(body={"docs": wanted})

            answer = await self._server.call("get", attempt)
            found += [row for row in answer["docs"] if row.get("found")]
        return found

    async def bulk(self, items: Sequence[Item]) -> Outcome:
        """Send one request of documents."""
        data = b"".join(item.lines for item in items)

        async def attempt(client: AsyncOpenSearch) -> Outcome:
            answer = await client.bulk(
                body=data, params={"filter_path": "errors,items.*.status,items.*.error"}
            )
            return judge(items, answer, f"put documents into OpenSearch at {self._server.url}")

        return await self._server.call("put", attempt)

    async def keep_newest(self, items: Iterable[Item]) -> None:
        """See to it that each id of these documents is left in one index only, the newest of them."""
        movable: dict[Family, list[Item]] = {}
        for item in items:
            if item.document.family != "binary2":
                movable.setdefault(item.document.family, []).append(item)
        for family, some in movable.items():
            await self._keep_newest(some, await self._indices(family))

    async def _keep_newest(self, items: Sequence[Item], indices: Sequence[str]) -> None:
        by_id = {item.document.id: item for item in sorted(items, key=lambda item: item.document.version)}
        elsewhere: list[Place] = [
            (index, id_, None) for id_, item in by_id.items() for index in indices if index != item.index
        ]
        lines = []
        for row in await self.fetch(elsewhere, source=False):
            item = by_id[row["_id"]]
            newer = row["_version"] > item.document.version
            lines.append(removal(item.index if newer else row["_index"], item.document))
        for at in range(0, len(lines), _REMOVALS_PER_REQUEST):
            await self._remove(b"".join(lines[at : at + _REMOVALS_PER_REQUEST]))

    async def _remove(self, data: bytes) -> None:
        # What is gone already, or newer by now, answers with an error that is none.
        await self._server.call(
            "remove", lambda client: client.bulk(body=data, params={"filter_path": "errors"})
        )

    async def _indices(self, family: Family) -> list[str]:
        """Return the concrete indices of a family that hold documents."""
        alias = self._layout.alias(family)

        async def attempt(client: AsyncOpenSearch) -> list[str]:
            try:
                return list(await client.indices.get_alias(name=alias))
            except exceptions.NotFoundError:
                return []

        found = await self._server.call("indices", attempt)
        unused = self._layout.base(family) if family == "status" else None
        return [name for name in found if name != unused]
