"""Random query trees over random documents: an index finds what plain Python says the tree means."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.index import sqlite_search
from pipeline.index.port import Document, Index
from pipeline.index.query import (
    And,
    Condition,
    Exists,
    Group,
    Not,
    Or,
    Prefix,
    Query,
    Range,
    Sort,
    Term,
    Text,
)
from tests.index.support import INDEX_FIELDS, all_ids, an_index, document, expected, expected_groups

TEXTS = [
    "",
    "a",
    "ab",
    "abc",
    "b",
    "É",
    "é",
    "日本",
    "😀",
    "'",
    '"',
    "\\",
    "%",
    "a b",
    "A",
    "\U0010ffff",
    "z" * 300,
]
WORDS = [
    "alpha",
    "beta",
    "Alpha beta",
    "GAMMA-alpha",
    "日本 beta",
    "x_y",
    "1.5",
    "é\u0301",
    "Ünïcode",
    "a" * 256,
]
TIMES = [
    "1969-12-31T23:59:59.5Z",
    "2024-03-14T09:00:00Z",
    "2024-03-14T09:00:00.0005Z",
    "2024-03-14T10:00:01+01:00",
]
VALUES: dict[str, list[Any]] = {
    "depth": [-2, -1, 0, 1, 2, 2**31 - 1],
    "size": [0, 1, 2, 10**12],
    "timestamp": TIMES,
    "file_format": TEXTS,
    "filename": TEXTS,
    "magic": WORDS,
    "features_map.seen": TEXTS,
    "features.offset": [-(10**12), 0, 7, 10**12],
    "features.enriched.float": [-1.5, 0.0, 0.1, 1e300],
    "features.enriched.ip": ["10.0.0.2", "10.0.0.10", "::1", "2001:db8::2"],
}
LISTED = {
    "filename",
    "features_map.seen",
    "features.offset",
    "features.enriched.float",
    "features.enriched.ip",
}
CORPUS_SIZE = 80

assert VALUES.keys() <= INDEX_FIELDS.keys()


def body_of(chosen: dict[str, list[Any]]) -> dict[str, Any]:
    """Lay chosen values out as a document has them."""
    body: dict[str, Any] = {name: values for name, values in chosen.items() if "." not in name}
    for name, values in body.items():
        if name not in LISTED:
            body[name] = values[0]
    if "features_map.seen" in chosen:
        body["features_map"] = {"seen": chosen["features_map.seen"]}
    features: list[dict[str, Any]] = [{"offset": value} for value in chosen.get("features.offset", [])]
    for part in ("float", "ip"):
        features += [{"enriched": {part: value}} for value in chosen.get(f"features.enriched.{part}", [])]
    return {**body, "features": features} if features else body


bodies = st.fixed_dictionaries(
    {},
    optional={
        name: st.lists(st.sampled_from(values), min_size=1, max_size=2) for name, values in VALUES.items()
    },
).map(body_of)
corpora = st.lists(bodies, max_size=12).map(
    lambda found: [document(f"{at:02}", **body) for at, body in enumerate(found)]
)


def a_leaf(field: str) -> st.SearchStrategy[Condition]:
    """Make conditions on one field."""
    value = st.sampled_from(VALUES[field])
    bound = st.none() | value
    leaves: list[st.SearchStrategy[Any]] = [
        st.lists(value, max_size=3).map(lambda values: Term(field, tuple(values))),
        st.builds(Range, st.just(field), bound, bound, bound, bound),
        st.just(Exists(field)),
    ]
    if INDEX_FIELDS[field] == "text":
        leaves.append(st.sampled_from([*TEXTS, *WORDS]).map(lambda start: Prefix(field, start[:2])))
    return st.one_of(leaves)


conditions: st.SearchStrategy[Condition] = st.recursive(
    st.sampled_from(sorted(VALUES)).flatmap(a_leaf)
    | st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(lambda words: Text(" ".join(words))),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: And(tuple(parts)))
        | st.lists(inner, max_size=3).map(lambda parts: Or(tuple(parts)))
        | inner.map(Not)
    ),
    max_leaves=8,
)
queries = st.builds(
    Query,
    conditions,
    st.lists(st.builds(Sort, st.sampled_from(sorted(VALUES)), st.booleans()), max_size=2).map(tuple),
    st.sampled_from([1, 5, 100]),
)
groups = st.builds(
    Group,
    st.sampled_from(["file_format", "filename", "features_map.seen"]),
    conditions,
    st.sampled_from([1, 3, 50]),
)


async def check(index: Index, documents: Sequence[Document], query: Query, group: Group) -> None:
    """Compare an index with the meaning of the tree."""
    wanted = expected(documents, query)
    assert await all_ids(index, "binary2", query) == wanted
    assert (await index.search("binary2", query)).total == len(wanted)
    assert await index.group("binary2", group) == expected_groups(documents, group)


@settings(max_examples=150, deadline=None)
@given(corpora, corpora, queries, groups)
def test_sqlite_finds_what_the_tree_means_also_after_documents_were_replaced(
    first: list[Document], then: list[Document], query: Query, group: Group
) -> None:
    newer = [document(each.id, 2, **dict(each.body)) for each in then]
    current = list({each.id: each for each in (*first, *newer)}.values())

    async def scene(folder: str) -> None:
        async with an_index("sqlite", Path(folder)) as index:
            assert await index.put(first) == []
            assert await index.put(newer) == []
            await check(index, current, query, group)
            with pytest.MonkeyPatch.context() as patch:  # the other way to order hits
                patch.setattr(sqlite_search, "WALK_FROM_PAGES", 0)
                await check(index, current, query, group)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scene(folder))


class Server:
    """A loop with an index on the server, and what the index holds."""

    def __init__(self, runner: asyncio.Runner, index: Index, documents: list[Document]) -> None:
        self._runner = runner
        self._index = index
        self._documents = documents

    def check(self, query: Query, group: Group) -> None:
        """Compare the index with the meaning of a tree."""
        self._runner.run(check(self._index, self._documents, query, group))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server whose index holds a corpus that is the same every time."""
    chance = random.Random(7)  # noqa: S311 - nothing secret
    documents = []
    for at in range(CORPUS_SIZE):
        fields = chance.sample(sorted(VALUES), chance.randrange(len(VALUES)))
        chosen = {name: chance.sample(VALUES[name], chance.choice((1, 2))) for name in fields}
        documents.append(document(f"{at:02}", first="ab"[at % 2], **body_of(chosen)))
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def fill() -> Index:
            index = await stack.enter_async_context(
                an_index("opensearch", tmp_path_factory.mktemp("unused"))
            )
            assert await index.put(documents) == []
            await index.refresh()
            return index

        yield Server(runner, runner.run(fill()), documents)
        runner.run(stack.aclose())


@pytest.mark.opensearch
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=queries, group=groups)
def test_opensearch_finds_what_the_tree_means(server: Server, query: Query, group: Group) -> None:
    server.check(query, group)
