"""Index templates and mappings: written when missing or resized, never changed behind anyone's back.

Composable templates with the names, patterns, alias and mapping of the contract; the data stand in
conf/opensearch. Contract: metastore section 3.7. Two fields of every family are ours: ``document_id``, to
sort by (sorting by ``_id`` would hold every id in the server's memory), and ``text``, all text in one
place.

A source's ``elastic`` block has no template of its own: index names no longer hold a source, and of
composable templates only one applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opensearchpy import AsyncOpenSearch, exceptions

from pipeline.errors import SettingError
from pipeline.index.names import Layout
from pipeline.index.opensearch_calls import Server
from pipeline.index.query import Family
from pipeline.index.schema import OPEN_MAPPING, schema_of

_PRIORITY: Final = 100
_VECTOR: Final = "knn_vector"
_VECTOR_PLUGIN: Final = "opensearch-knn"
_ALREADY: Final = "resource_already_exists_exception"


async def has_vectors(server: Server) -> bool:
    """Ask whether the server can search vectors."""
    rows = await server.call("plugins", lambda client: client.cat.plugins(format="json", h="component"))
    return any(row.get("component") == _VECTOR_PLUGIN for row in rows)


def vector_fields(family: Family) -> frozenset[str]:
    """Return the fields a server without the vector plugin does not know."""
    properties = schema_of(family).mapping["properties"]
    return frozenset(name for name, mapping in properties.items() if mapping.get("type") == _VECTOR)


def template(family: Family, layout: Layout, *, vectors: bool) -> dict[str, Any]:
    """Build the index template of a family."""
    data = schema_of(family).template
    settings = {
        name: value
        for name, value in data["settings"]["index"].items()
        if vectors or not name.startswith("knn")
    }
    return {
        "index_patterns": layout.patterns(family),
        "priority": _PRIORITY,
        "version": data["version"],
        "template": {
            "aliases": {layout.alias(family): {}},
            "settings": {
                "index": {
                    **settings,
                    "number_of_shards": layout.shards,
                    "number_of_replicas": layout.replicas,
                }
            },
            "mappings": {**data["mappings"], "properties": _properties(family, vectors=vectors)},
        },
    }


async def ensure(
    server: Server, family: Family, layout: Layout, *, vectors: bool, force: bool = False
) -> None:
    """Write the template when it is missing or resized, and make the index that carries the alias.

    Safe to repeat and to run in several processes at once: the template is written after the mapping of
    existing indices, so a crash in between leaves a template that is still due.

    Raises:
        SettingError: The server has a template of another version, and `force` is not set.
    """
    wanted = template(family, layout, vectors=vectors)
    if force or await _due(server, layout.alias(family), wanted):
        await _map_existing(server, layout.alias(family), wanted["template"]["mappings"]["properties"])
        await server.call(
            "put_template",
            lambda client: client.indices.put_index_template(name=layout.alias(family), body=wanted),
        )
    await _make_base(server, layout.base(family))


async def add_open_fields(server: Server, alias: str, group: str, names: list[str]) -> None:
    """Add fields to an open group of all existing indices; those that are there stay as they are."""
    properties = {group: {"properties": dict.fromkeys(names, OPEN_MAPPING)}}
    await _map_existing(server, alias, properties)


async def _due(server: Server, name: str, wanted: Mapping[str, Any]) -> bool:
    present = await server.call("get_template", lambda client: _present(client, name))
    if present is None:
        return True
    if present.get("version") != wanted["version"]:
        raise SettingError(
            f"open the index {name} at {server.url}",
            f"its template has version {present.get('version')}, not {wanted['version']}",
            "set search.partition to a new name and index the events again, or force the update",
        )
    return _sizes(present) != _sizes(wanted)


async def _present(client: AsyncOpenSearch, name: str) -> dict[str, Any] | None:
    # At the first start there is none, which is no error and must not be logged as one.
    answer = await client.indices.get_index_template(name=name, params={"ignore": 404})
    found = answer.get("index_templates")
    return found[0]["index_template"] if found else None


def _sizes(template: Mapping[str, Any]) -> tuple[int, int]:
    index = template["template"]["settings"]["index"]
    return int(index["number_of_shards"]), int(index["number_of_replicas"])


async def _map_existing(server: Server, alias: str, properties: Mapping[str, Any]) -> None:
    # Where no index is yet, the template maps those to come.
    params = {"ignore_unavailable": "true", "allow_no_indices": "true"}
    body = {"properties": properties}
    await server.call(
        "put_mapping", lambda client: client.indices.put_mapping(index=alias, body=body, params=params)
    )


async def _make_base(server: Server, name: str) -> None:
    async def attempt(client: AsyncOpenSearch) -> None:
        if await client.indices.exists(index=name):
            return
        try:
            await client.indices.create(index=name)
        except exceptions.RequestError as error:
            if error.error != _ALREADY:  # another process was faster
                raise

    await server.call("create_index", attempt)


def _properties(family: Family, *, vectors: bool) -> dict[str, Any]:
    dropped = frozenset() if vectors else vector_fields(family)
    properties = schema_of(family).mapping["properties"]
    return {name: mapping for name, mapping in properties.items() if name not in dropped}
