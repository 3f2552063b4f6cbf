"""What every index promises about writing and reading back: one suite over SQLite and OpenSearch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pipeline import limits
from pipeline.errors import Unavailable
from pipeline.index.location import index_at
from pipeline.index.names import Layout
from pipeline.index.port import Document, Index
from pipeline.index.query import Group, Query, Term, Text
from pipeline.index.schema import FAMILIES
from tests.index.support import all_ids, an_index, document, sha256_of, url_of

KINDS = ["sqlite", pytest.param("opensearch", marks=pytest.mark.opensearch)]

ODD_TEXTS = [
    "",
    " ",
    'O\'Brien "quoted" \\ back',
    "Robert'); DROP TABLE documents;--",
    '{"match_all": {}}',
    "日本語 テキスト",
    "emoji 😀 family",
    "e\u0301 combining and é composed",
    "percent % under_score * star ?",
    "line\nbreak\ttab\x00nul",
    "\U0010ffff last",
    "x" * 8000,
]


@pytest_asyncio.fixture(params=KINDS)
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Index]:
    """Give an empty index."""
    async with an_index(request.param, tmp_path) as made:
        yield made


@pytest_asyncio.fixture(params=KINDS, scope="module", loop_scope="module")
async def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Index]:
    """Give one index to many tests with ids of their own: making one takes long on a server."""
    async with an_index(request.param, tmp_path_factory.mktemp("shared")) as made:
        yield made


def status(key: str, state: str, version: int, timestamp: str = "2024-03-14T09:00:00Z") -> Document:
    """Make a status document."""
    everybody = {"exclusive": ["s-any"], "inclusive": ["s-any"], "markings": ["s-any"], "num_exclusive": 1}
    body = {
        "timestamp": timestamp,
        "encoded_security": everybody,
        "entity": {"status": state, "runtime": 0.5},
    }
    return Document("status", key, body, version)


async def _bodies(index: Index, documents: list[Document]) -> dict[str, Any]:
    family = documents[0].family
    return await index.get(family, {each.id: each.routing for each in documents})


async def test_documents_come_back_as_they_were_put_and_at_once(index: Index) -> None:
    documents = [
        document("one", depth=1, filename=["a", "b"], info={"any": [1, {"deep": None}]}),
        document("two", size=2**62, features=[{"name": "n", "value": "v", "enriched": {"float": 0.25}}]),
    ]
    assert await index.put(documents) == []
    assert await _bodies(index, documents) == {each.id: each.body for each in documents}


async def test_unknown_ids_are_left_out_not_invented(index: Index) -> None:
    assert await index.put([document("here")]) == []
    asked = {
        "here": sha256_of("here", first="a"),
        "nowhere": sha256_of("nowhere"),
        "": None,
        "\ud800": None,
    }
    assert set(await index.get("binary2", asked)) == {"here"}
    assert await index.get("binary2", {}) == {}
    assert await index.get("plugin", {"nowhere": None}) == {}


async def test_putting_the_same_again_changes_nothing(index: Index) -> None:
    documents = [document(name, depth=number) for number, name in enumerate("abc")]
    for _ in range(3):
        assert await index.put(documents) == []
    await index.refresh()
    page = await index.search("binary2", Query())
    assert (page.total, [hit.id for hit in page.hits]) == (3, ["a", "b", "c"])


async def test_an_older_version_never_replaces_a_newer_one(index: Index) -> None:
    assert await index.put([document("x", 5, depth=5)]) == []
    assert await index.put([document("x", 4, depth=4)]) == []
    assert (await _bodies(index, [document("x")]))["x"]["depth"] == 5
    assert await index.put([document("x", 6, depth=6)]) == []
    assert (await _bodies(index, [document("x")]))["x"]["depth"] == 6


async def test_an_equal_version_is_skipped(index: Index) -> None:
    assert await index.put([document("x", 5, depth=1)]) == []
    assert await index.put([document("x", 5, depth=2)]) == []
    assert (await _bodies(index, [document("x")]))["x"]["depth"] == 1


async def test_of_one_id_in_a_batch_the_newest_stays(index: Index) -> None:
    assert await index.put([document("x", version, depth=version) for version in (2, 9, 4)]) == []
    assert (await _bodies(index, [document("x")]))["x"]["depth"] == 9


async def test_what_a_replaced_document_said_is_found_no_more(index: Index) -> None:
    old = document("x", 1, magic="old words", filename=["gone", "kept"], features_map={"seen": ["gone"]})
    new = document("x", 2, magic="new words", filename=["kept", "added"])
    for each in (old, new):
        assert await index.put([each]) == []
        await index.refresh()
    assert await all_ids(index, "binary2", Query(Text("old"))) == []
    assert await all_ids(index, "binary2", Query(Text("new words"))) == ["x"]
    assert await all_ids(index, "binary2", Query(Term("filename", ("gone",)))) == []
    assert await all_ids(index, "binary2", Query(Term("features_map.seen", ("gone",)))) == []
    assert await index.group("binary2", Group("filename")) == [("added", 1), ("kept", 1)]


@pytest.mark.parametrize(
    "body",
    [
        {"no_such_field": 1},
        {"author": {"no_such_field": "x"}},
        {"author": "not an object"},
        {"depth": "three"},
        {"depth": 2**31},
        {"depth": 1.5},
        {"depth": True},
        {"depth": {"object": 1}},
        {"size": -1},
        {"timestamp": "yesterday"},
        {"timestamp": "2024-02-30T00:00:00Z"},
        {"timestamp": ""},
        {"md5": {"object": "x"}},
        {"features": [{"enriched": {"ip": "not.an.address"}}]},
        {"features": [{"enriched": {"float": "much"}}]},
        {"features": ["text"]},
        {"features_map": {"": ["x"]}},
        {"features_map": {"a.b": ["x"]}},
        {"features_map": {"n" * 201: ["x"]}},
        {"features_map": {"seen": {"object": 1}}},
        {"binary_info": {"name": "sibling", "parent": "a" * 64}},
        {"text": "smuggled"},
        {"document_id": "another"},
        {"info": {"text": "\ud800"}},
        {"info": {"number": 2**70}},
        {"info": {1: "key"}},
    ],
    ids=repr,
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_document_that_can_never_be_taken_does_not_stop_the_others(
    shared: Index, body: dict[str, Any]
) -> None:
    documents = [document("before", depth=1), document("bad", **body), document("after", depth=2)]
    refused = await shared.put(documents)
    assert [each.id for each in refused] == ["bad"]
    assert refused[0].reason
    assert set(await _bodies(shared, documents)) == {"before", "after"}


@pytest.mark.parametrize(
    "bad",
    [
        Document("binary2", "bad", {}, 1, None),
        Document("binary2", "bad", {}, 1, "../../etc"),
        Document("binary2", "b" * 513, {}, 1, "a" * 64),
        Document("binary2", "", {}, 1, "a" * 64),
        Document("binary2", "bad", {}, -1, "a" * 64),
        Document("binary2", "bad", {}, 2**63, "a" * 64),
        Document("status", "bad", {"entity": {"status": "completed"}}, 1),
        Document("status", "bad", {"timestamp": "never"}, 1),
    ],
    ids=repr,
)
@pytest.mark.asyncio(loop_scope="module")
async def test_ids_versions_and_routings_out_of_bounds_are_refused(shared: Index, bad: Document) -> None:
    refused = await shared.put([bad])
    assert [each.id for each in refused] == [bad.id]


async def test_null_and_empty_values_are_no_values(index: Index) -> None:
    documents = [document("x", md5=None, filename=[], author={}, features=[None], depth=[None, 3])]
    assert await index.put(documents) == []
    await index.refresh()
    assert await all_ids(index, "binary2", Query(Term("depth", (3,)))) == ["x"]


async def test_any_text_is_kept_exactly_and_found_by_itself_only(index: Index) -> None:
    documents = [document(f"{at:02}", file_format=text) for at, text in enumerate(ODD_TEXTS)]
    assert await index.put(documents) == []
    await index.refresh()
    assert await _bodies(index, documents) == {each.id: each.body for each in documents}
    for at, text in enumerate(ODD_TEXTS):
        assert await all_ids(index, "binary2", Query(Term("file_format", (text,)))) == [f"{at:02}"], text


async def test_a_text_too_long_to_search_is_kept_and_stops_nothing(index: Index) -> None:
    long = "y" * 40_000
    wide = "😀" * 4001
    assert await index.put([document("long", md5=long, sha1=wide, magic=f"word {long}")]) == []
    await index.refresh()
    assert (await _bodies(index, [document("long")]))["long"]["md5"] == long
    for field, value in (("md5", long), ("sha1", wide)):
        assert await all_ids(index, "binary2", Query(Term(field, (value,)))) == []
    assert await all_ids(index, "binary2", Query(Text("word"))) == ["long"]
    assert await all_ids(index, "binary2", Query(Text(long))) == ["long"]


@pytest.mark.parametrize(
    "name", ["*", "a b", "ü", '"', "\\", "#x", "a:b", "a,b", "'; --", "properties", "_id"]
)
@pytest.mark.asyncio(loop_scope="module")
async def test_feature_names_become_fields_whatever_they_are(shared: Index, name: str) -> None:
    assert await shared.put([document(f"named {name}", features_map={name: ["v"]})]) == []
    await shared.refresh()
    assert await all_ids(shared, "binary2", Query(Term(f"features_map.{name}", ("v",)))) == [
        f"named {name}"
    ]
    assert await shared.group("binary2", Group(f"features_map.{name}")) == [("v", 1)]


async def test_feature_names_seen_first_in_different_batches_are_all_fields(index: Index) -> None:
    for at in range(4):
        batch = [document(f"{at}{half}", first=half, features_map={f"name{at}": [half]}) for half in "ab"]
        assert await index.put(batch) == []
    await index.refresh()
    for at in range(4):
        found = await all_ids(index, "binary2", Query(Term(f"features_map.name{at}", ("a", "b"))))
        assert found == [f"{at}a", f"{at}b"]


async def test_vectors_never_stop_a_document(index: Index) -> None:
    assert await index.put([document("x", tlsh_vector=[1] * 36, entropy_vector=[-1] * 160, depth=1)]) == []
    assert (await _bodies(index, [document("x")]))["x"]["depth"] == 1


async def test_later_statuses_of_a_task_replace_earlier_ones_over_any_time(index: Index) -> None:
    early = status("task", "heartbeat", 1, "2024-03-14T09:00:00Z")
    late = status("task", "completed", 2, "2024-06-01T00:00:00Z")
    assert await index.put([early]) == []
    assert await index.put([late]) == []
    assert await index.put([early]) == []
    await index.refresh()
    page = await index.search("status", Query())
    assert [hit.body["entity"]["status"] for hit in page.hits] == ["completed"]
    assert (await index.get("status", {"task": None}))["task"] == late.body


async def test_statuses_of_one_task_in_one_batch_leave_the_newest(index: Index) -> None:
    batch = [
        status("task", "completed", 3, "2024-06-01T00:00:00Z"),
        status("task", "dequeued", 1, "2024-03-14T09:00:00Z"),
        status("task", "heartbeat", 2, "2024-05-01T00:00:00Z"),
    ]
    assert await index.put(batch) == []
    await index.refresh()
    assert [hit.body["entity"]["status"] for hit in (await index.search("status", Query())).hits] == [
        "completed"
    ]


async def test_a_plugin_that_changes_its_security_is_listed_once(index: Index) -> None:
    open_half = {"exclusive": ["s-any"], "inclusive": ["s-any"], "markings": [], "num_exclusive": 1}
    shut_half = {"exclusive": ["s-high"], "inclusive": ["s-any"], "markings": [], "num_exclusive": 1}
    for version, security in enumerate((open_half, shut_half, open_half), start=1):
        body = {"encoded_security": security, "entity": {"name": "unzip", "version": f"{version}"}}
        assert await index.put([Document("plugin", "unzip", body, version)]) == []
        await index.refresh()
        page = await index.search("plugin", Query())
        assert [hit.body["entity"]["version"] for hit in page.hits] == [f"{version}"]
    assert (await index.get("plugin", {"unzip": None}))["unzip"]["entity"]["version"] == "3"


async def test_families_do_not_mix(index: Index) -> None:
    plugin = Document("plugin", "same", {"entity": {"name": "unzip"}}, 1)
    assert await index.put([document("same", depth=1), status("same", "completed", 1), plugin]) == []
    await index.refresh()
    for family in FAMILIES:
        assert (await index.search(family, Query())).total == 1
    assert (await index.get("plugin", {"same": None}))["same"] == plugin.body


async def test_a_thousand_documents_in_one_batch_are_all_there(index: Index) -> None:
    documents = [document(f"{at:04}", depth=at, magic=f"word{at}") for at in range(1000)]
    assert await index.put(documents) == []
    await index.refresh()
    assert await all_ids(index, "binary2", Query(limit=limits.SEARCH_PAGE_MAX)) == [
        each.id for each in documents
    ]
    assert len(await _bodies(index, documents)) == 1000
    assert await all_ids(index, "binary2", Query(Text("word77"))) == ["0077"]


async def test_an_empty_batch_is_nothing(index: Index) -> None:
    assert await index.put([]) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_closed_index_says_so_and_opens_again(kind: str, tmp_path: Path) -> None:
    async with an_index(kind, tmp_path) as index:
        assert await index.put([document("x")]) == []
        await index.close()
        await index.close()
        for call in (
            index.put([document("y")]),
            index.search("binary2", Query()),
            index.get("plugin", {"x": None}),
        ):
            with pytest.raises(Unavailable):
                await call
        await index.open()
        await index.open()
        assert set(await _bodies(index, [document("x")])) == {"x"}


@pytest.mark.parametrize("kind", KINDS)
async def test_two_openers_at_once_do_not_hinder_each_other(kind: str, tmp_path: Path) -> None:
    async with an_index(kind, tmp_path) as first:
        layout = getattr(first, "_layout", Layout("unused"))
        second = index_at(url_of(kind), data_folder=tmp_path, layout=layout)
        await second.open()
        try:
            assert await first.put([document("x", features_map={"one": ["1"]})]) == []
            assert await second.put([document("y", features_map={"two": ["2"]})]) == []
            assert await first.put([document("z", features_map={"two": ["2"], "one": ["1"]})]) == []
            await second.refresh()
            assert await all_ids(first, "binary2", Query(Term("features_map.two", ("2",)))) == ["y", "z"]
            assert await all_ids(second, "binary2", Query(Term("features_map.one", ("1",)))) == ["x", "z"]
        finally:
            await second.close()
