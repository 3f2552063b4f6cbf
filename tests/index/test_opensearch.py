"""What is OpenSearch's alone: names, templates and their versions, and servers that go away or are full."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import pytest_asyncio
import stamina
from aiohttp import web

from pipeline.errors import SettingError, StorageFull, Unavailable
from pipeline.index.location import index_at
from pipeline.index.names import Layout, Unit, bucket
from pipeline.index.opensearch import OpenSearchIndex
from pipeline.index.port import Document
from pipeline.index.query import Query, Sort, Term
from pipeline.index.values import milliseconds
from tests.index.proxy import Door, a_door
from tests.index.support import all_ids, an_index, document, raw_client, sha256_of, url_of, wipe

pytestmark = pytest.mark.opensearch


@pytest.fixture
def layout() -> Layout:
    """Give names nothing else on the server has."""
    return Layout(f"t{uuid.uuid4().hex[:12]}")


@pytest_asyncio.fixture
async def index(layout: Layout, tmp_path: Path) -> AsyncIterator[OpenSearchIndex]:
    """Give an empty index with that layout."""
    async with an_index("opensearch", tmp_path, layout=layout) as made:
        assert isinstance(made, OpenSearchIndex)
        yield made


@pytest_asyncio.fixture
async def door(layout: Layout) -> AsyncIterator[Door]:
    """Give a shut door to the server; what was made behind it is removed."""
    server = urlsplit(os.environ["PIPELINE_TEST_OPENSEARCH"])
    assert server.hostname is not None
    assert server.port is not None
    async with a_door(server.hostname, server.port) as shut:
        yield shut
    await wipe(layout.partition)


@pytest.fixture(autouse=True)
def _no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


def behind(door: Door, layout: Layout) -> OpenSearchIndex:
    """Return an index that reaches the server through a door."""
    index = index_at(f"opensearch+http://127.0.0.1:{door.port}", data_folder=Path("/unused"), layout=layout)
    assert isinstance(index, OpenSearchIndex)
    return index


async def concrete(layout: Layout) -> dict[str, list[str]]:
    """Return the indices of a partition with their aliases."""
    async with raw_client() as client:
        answer = await client.indices.get_alias(index=f"azul.*.{layout.partition}.*")
    return {name: list(entry["aliases"]) for name, entry in answer.items()}


async def template_of(layout: Layout, family: str) -> dict[str, Any]:
    """Return the template the server has for a family."""
    async with raw_client() as client:
        answer = await client.indices.get_index_template(name=f"azul.{layout.partition}.{family}")
    found: dict[str, Any] = answer["index_templates"][0]["index_template"]
    return found


def status(key: str, role: str, timestamp: str) -> Document:
    """Make a status only people with a role may read."""
    security = {"exclusive": [role], "inclusive": ["s-any"], "markings": [], "num_exclusive": 1}
    return Document("status", key, {"timestamp": timestamp, "encoded_security": security}, 1)


async def test_indices_and_aliases_have_the_names_of_the_contract(
    index: OpenSearchIndex, layout: Layout
) -> None:
    p = layout.partition
    documents = [
        document("x", first="a"),
        document("y", first="7"),
        status("open", "s-any", "2024-03-14T09:00:00Z"),
        status("shut", "s-high", "2024-12-31T23:59:59Z"),
        Document(
            "plugin", "open", {"encoded_security": {"exclusive": ["s-any"], "inclusive": ["s-any"]}}, 1
        ),
        Document("plugin", "shut", {}, 1),
    ]
    assert await index.put(documents) == []
    assert await concrete(layout) == {
        f"azul.o.{p}.binary2": [f"azul.{p}.binary2"],
        f"azul.x.{p}.binary2.a": [f"azul.{p}.binary2"],
        f"azul.x.{p}.binary2.7": [f"azul.{p}.binary2"],
        f"azul.o.{p}.status": [f"azul.{p}.status"],
        f"azul.o.{p}.status.2024-03-w11": [f"azul.{p}.status"],
        f"azul.x.{p}.status.2024-12-w53": [f"azul.{p}.status"],
        f"azul.o.{p}.plugin": [f"azul.{p}.plugin"],
        f"azul.x.{p}.plugin": [f"azul.{p}.plugin"],
    }


async def test_all_of_one_binary_lies_on_one_shard_with_its_parent(
    index: OpenSearchIndex, layout: Layout
) -> None:
    sha256 = sha256_of("x", first="a")
    parent = Document(
        "binary2", sha256, {"binary_info": {"name": "binary"}, "security": "s-any"}, 1, sha256
    )
    assert await index.put([parent, document("x")]) == []
    await index.refresh()
    has_child = {"has_child": {"type": "metadata", "query": {"term": {"security": "s-any"}}}}
    async with raw_client() as client:
        answer = await client.search(index=layout.alias("binary2"), body={"query": has_child})
    assert [(hit["_id"], hit["_routing"]) for hit in answer["hits"]["hits"]] == [(sha256, sha256)]


@pytest.mark.parametrize(
    ("time", "unit", "name"),
    [
        ("2024-03-14T09:00:00Z", "year", "2024"),
        ("2024-03-14T09:00:00Z", "month", "2024-03"),
        ("2024-03-14T09:00:00Z", "week", "2024-03-w11"),
        ("2024-01-01T00:00:00Z", "week", "2024-01-w01"),
        ("2024-01-07T23:59:59Z", "week", "2024-01-w01"),
        ("2024-01-08T00:00:00Z", "week", "2024-01-w02"),
        ("2024-12-31T00:00:00Z", "week", "2024-12-w53"),
        ("2024-03-14T23:30:00-01:00", "day", "2024-03-15"),
        ("2024-03-14T09:00:00Z", "all", "all"),
    ],
)
def test_stretches_of_time_have_the_names_of_the_contract(time: str, unit: Unit, name: str) -> None:
    assert bucket(milliseconds(time), unit) == name


async def test_templates_carry_version_sizes_alias_and_strict_mapping(
    index: OpenSearchIndex, layout: Layout
) -> None:
    assert await index.put([]) == []
    found = await template_of(layout, "binary2")
    assert found["index_patterns"] == layout.patterns("binary2")
    assert found["template"]["aliases"] == {layout.alias("binary2"): {}}
    assert found["template"]["mappings"]["dynamic"] == "strict"
    settings = found["template"]["settings"]["index"]
    assert (settings["number_of_shards"], settings["number_of_replicas"]) == ("1", "0")
    assert settings["refresh_interval"] == "30s"


async def test_a_template_of_another_version_is_never_overwritten_unless_forced(
    index: OpenSearchIndex, layout: Layout, tmp_path: Path
) -> None:
    name = layout.alias("status")
    theirs = await template_of(layout, "status") | {"version": 1}
    async with raw_client() as client:
        await client.indices.put_index_template(name=name, body=theirs)
    second = index_at(url_of("opensearch"), data_folder=tmp_path, layout=layout)
    try:
        with pytest.raises(SettingError, match=r"search\.partition"):
            await second.open()
        assert (await template_of(layout, "status"))["version"] == 1
    finally:
        await second.close()
    await index.force_templates()
    assert (await template_of(layout, "status"))["version"] > 1


async def test_new_sizes_are_written_and_old_data_stay(
    index: OpenSearchIndex, layout: Layout, tmp_path: Path
) -> None:
    assert await index.put([document("x")]) == []
    larger = msgspec.structs.replace(layout, shards=2)
    second = index_at(url_of("opensearch"), data_folder=tmp_path, layout=larger)
    try:
        await second.open()
        settings = (await template_of(layout, "binary2"))["template"]["settings"]["index"]
        assert settings["number_of_shards"] == "2"
        assert set(await second.get("binary2", {"x": sha256_of("x", first="a")})) == {"x"}
    finally:
        await second.close()


async def test_a_start_that_broke_off_is_finished_by_the_next(
    index: OpenSearchIndex, layout: Layout, tmp_path: Path
) -> None:
    """The template stands, the index with the alias does not: what a crash between the two leaves."""
    assert await index.put([]) == []
    async with raw_client() as client:
        await client.indices.delete(index=layout.base("status"))
    second = index_at(url_of("opensearch"), data_folder=tmp_path, layout=layout)
    try:
        await second.open()
        assert (await second.search("status", Query())).total == 0
    finally:
        await second.close()


async def test_a_stale_status_left_by_a_crash_is_answered_and_cleared_by_the_next_put(
    index: OpenSearchIndex, layout: Layout
) -> None:
    """A crash between writing a status and removing its predecessor leaves two; the replay clears it."""
    old = status("task", "s-any", "2024-03-14T09:00:00Z")
    new = Document("status", "task", dict(old.body) | {"timestamp": "2024-06-01T00:00:00Z"}, 2)
    assert await index.put([new]) == []
    async with raw_client() as client:
        stale = dict(old.body) | {"document_id": "task"}
        params = {"version": 1, "version_type": "external", "refresh": "true"}
        await client.index(index=layout.index(old), id="task", body=stale, params=params)
    assert (await index.get("status", {"task": None}))["task"] == new.body
    assert await index.put([new]) == []
    await index.refresh()
    assert [hit.body for hit in (await index.search("status", Query())).hits] == [new.body]


async def test_an_index_that_is_down_at_start_is_waited_for(door: Door, layout: Layout) -> None:
    index = behind(door, layout)
    try:
        for _ in range(2):
            with pytest.raises(Unavailable, match="up and reachable"):
                await index.open()
        await door.open()
        await index.open()
        assert await index.put([document("x")]) == []
        await index.refresh()
        assert (await index.search("binary2", Query())).total == 1
    finally:
        await index.close()


async def test_an_index_that_goes_down_in_the_middle_loses_nothing(door: Door, layout: Layout) -> None:
    await door.open()
    index = behind(door, layout)
    try:
        await index.open()
        assert await index.put([document("before")]) == []
        await door.shut()
        places = {"before": sha256_of("before", first="a")}
        for call in (
            index.put([document("during")]),
            index.get("binary2", places),
            index.search("binary2", Query()),
            index.refresh(),
        ):
            with pytest.raises(Unavailable):
                await call
        await door.open()
        assert await index.put([document("during"), document("after")]) == []
        await index.refresh()
        assert await all_ids(index, "binary2", Query(sort=(Sort("depth"),))) == [
            "after",
            "before",
            "during",
        ]
    finally:
        await index.close()


async def test_connections_cut_again_and_again_lose_and_double_nothing(door: Door, layout: Layout) -> None:
    await door.open()
    index = behind(door, layout)
    try:
        await index.open()
        assert await index.put([document("first")]) == []

        async def cut() -> None:
            while True:
                await door.shut()
                await door.open()
                await asyncio.sleep(0.02)

        cutting = asyncio.create_task(cut())
        for at in range(10):
            batch = [
                document(f"{at}-{each}", depth=at, features_map={f"f{at}": ["v"]}) for each in range(50)
            ]
            while True:
                try:
                    assert await index.put(batch) == []
                    break
                except Unavailable:
                    continue
        cutting.cancel()
        await asyncio.gather(cutting, return_exceptions=True)
        await door.shut()
        await door.open()
        await index.refresh()
        for at in range(10):
            assert (await index.search("binary2", Query(Term("depth", (at,))))).total == 50
            assert (await index.search("binary2", Query(Term(f"features_map.f{at}", ("v",))))).total == 50
    finally:
        await index.close()


async def test_a_server_whose_disk_is_full_says_so_and_goes_on_when_it_is_not(
    index: OpenSearchIndex, layout: Layout
) -> None:
    assert await index.put([document("x")]) == []
    name = layout.index(document("x"))
    async with raw_client() as client:
        for blocked in (True, None):
            block = {"index.blocks.read_only_allow_delete": blocked}
            await client.indices.put_settings(index=name, body=block)
            if blocked:
                with pytest.raises(StorageFull):
                    await index.put([document("y")])
    assert await index.put([document("y")]) == []


@pytest.mark.parametrize("code", [401, 403, 429, 503])
async def test_a_server_that_turns_us_away_is_waited_for_not_blamed_on_records(
    layout: Layout, code: int, unused_tcp_port: int
) -> None:
    """The real server here has no users, so this one stands in for it."""

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"error": "no", "status": code}, status=code)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    url = f"opensearch+http://someone:secret@127.0.0.1:{unused_tcp_port}"
    index = index_at(url, data_folder=Path("/unused"), layout=layout)
    try:
        with pytest.raises(Unavailable) as caught:
            await index.open()
        assert f"{code}" in str(caught.value)
        assert "secret" not in str(caught.value)
    finally:
        await index.close()
        await runner.cleanup()
