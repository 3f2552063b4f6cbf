"""What every index promises about searching: the same query tree finds the same documents in both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from pipeline import limits
from pipeline.errors import QueryError
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
from tests.index.support import all_ids, an_index, document, expected, expected_groups

KINDS = ["sqlite", "sqlite walking", pytest.param("opensearch", marks=pytest.mark.opensearch)]
pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMES = [
    "0001-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999Z",
    "2024-03-14T09:00:00Z",
    "2024-03-14T09:00:00.001Z",
    "2024-03-14T09:00:00.0019Z",
    "2024-03-14T10:30:00+01:30",
    "9999-12-31T23:59:59.999999Z",
]
CORPUS = [
    document("empty"),
    document("b", depth=0, size=0, file_format="text", filename=["b.txt", "a.txt"]),
    document("a", depth=3, size=10, file_format="Text", filename=["c.txt"], magic="PE32 executable (GUI)"),
    document("c", depth=-5, size=2**63 - 1, file_format="text/plain", magic="ASCII text, with CRLF"),
    document(
        "É",
        depth=2**31 - 1,
        file_format='it\'s "quoted" \\',
        magic="Größe ÄÖÜ straße \u0391\u03a3\u03a3\u0391\u03a3",
    ),
    document("日本", depth=-(2**31), file_format="日本語", magic="日本語 テキスト 2024"),
    document("😀", size=11, file_format="\U0010ffff", features_map={"seen": ["x", "y"]}),
    document("quote'", file_format="' OR '1'='1", features_map={"seen": ["y"], "other": ["z"]}),
    document(
        "f1", features=[{"name": "n", "value": "alpha beta", "offset": 2**62, "enriched": {"float": 0.5}}]
    ),
    document(
        "f2", features=[{"enriched": {"float": -1e300}}, {"enriched": {"float": 7, "ip": "10.0.0.9"}}]
    ),
    document("f3", features=[{"offset": -(2**62), "enriched": {"ip": "2001:db8::1"}}]),
    document("f4", features=[{"offset": 5, "enriched": {"ip": "10.0.0.10"}}, {"offset": 500}]),
    document("source", source={"name": "my source", "timestamp": TIMES[2]}, author={"name": "unzip-7"}),
    *(document(f"time{at}", timestamp=text) for at, text in enumerate(TIMES)),
]
PLUGINS = [
    Document("plugin", name, {"entity": {"name": name, "config": config}}, 1)
    for name, config in (
        ("downloads", {"is_processing_download_events": "true", "other": "[1]"}),
        ("does not", {"is_processing_download_events": False}),
        ("says nothing", {}),
    )
]

CONDITIONS: list[Condition] = [
    And(()),
    Or(()),
    Not(And(())),
    Not(Or(())),
    Term("file_format", ("text",)),
    Term("file_format", ("text", "日本語", "nothing like it")),
    Term("file_format", ()),
    Term("file_format", ('it\'s "quoted" \\',)),
    Term("file_format", ("' OR '1'='1",)),
    Term("file_format", ("\U0010ffff",)),
    Term("file_format", ("text' OR 1=1 --", "*", "te%", "text\x00")),
    Term("filename", ("a.txt",)),
    Term("features_map.seen", ("y",)),
    Term("features_map.never", ("y",)),
    Term("features_map.x' OR '1'='1", ("y",)),
    Term("depth", (3, -5)),
    Term("depth", (3.0,)),
    Term("depth", (2**40,)),
    Term("size", (2**63 - 1,)),
    Term("features.enriched.float", (7, 0.5)),
    Term("features.enriched.ip", ("10.0.0.9", "2001:db8::1")),
    Term("timestamp", (TIMES[2],)),
    Term("timestamp", (TIMES[0], TIMES[6])),
    Prefix("file_format", "te"),
    Prefix("file_format", ""),
    Prefix("file_format", "日"),
    Prefix("file_format", "\U0010ffff"),
    Prefix("file_format", "t%"),
    Prefix("file_format", "*"),
    Range("depth", at_least=0),
    Range("depth", at_least=3, below=3),
    Range("depth", above=-5, at_most=3),
    Range("depth", above=0.5, below=3.5),
    Range("depth", at_least=-(2**40), below=2**40),
    Range("depth", at_least=2**40),
    Range("depth"),
    Range("size", at_least=10, at_most=11),
    Range("features.offset", at_least=6, below=400),
    Range("features.offset", below=0),
    Range("features.enriched.float", above=0.5),
    Range("features.enriched.float", at_least=-1e300, below=7),
    Range("features.enriched.ip", at_least="10.0.0.9", at_most="10.0.0.10"),
    Range("features.enriched.ip", above="10.0.0.10"),
    Range(
        "features.enriched.ip",
        above="10.0.0.9",
        at_least="10.0.0.10",
        at_most="10.0.0.10",
        below="::ffff:b00:1",
    ),
    Range("features.enriched.float", below=7, at_most=0.5),
    Range("features.enriched.float", below=0.5, at_most=0.5),
    Range("features.enriched.float", above=0.5, at_least=7),
    Range("file_format", above="text", at_least="text", below="text/q", at_most="z"),
    Range("file_format", at_least="text", below="text/"),
    Range("file_format", above="text"),
    Range("timestamp", below="1970-01-01T00:00:00Z"),
    Range("timestamp", at_least="2024-03-14T09:00:00Z", below="2024-03-14T09:00:00.001Z"),
    Range("timestamp", above="2024-03-14T09:00:00Z"),
    Range("timestamp", at_most="2024-03-14T10:00:00+01:00"),
    Range("source.timestamp", at_least=TIMES[0]),
    Exists("magic"),
    Exists("features.enriched.ip"),
    Exists("features_map.other"),
    Exists("features_map.never"),
    Not(Exists("file_format")),
    Text("ascii"),
    Text("TEXT crlf, with"),
    Text("größe"),
    Text("ÄÖÜ STRASSE"),
    Text("äöü straße"),
    Text("\u03b1\u03c3\u03c3\u03b1\u03c3"),
    Text("日本語"),
    Text("beta ALPHA"),
    Text("unzip 7"),
    Text('alpha" OR "executable'),
    Text("alpha* NOT"),
    And((Exists("magic"), Not(Term("file_format", ("Text",))))),
    And((Or((Text("pe32"), Range("depth", below=-4))), Not(Or((Exists("size"), Text("2024")))))),
    Or((And((Term("depth", (0,)), Prefix("filename", "b"))), Not(Not(Term("size", (11,)))))),
    Not(And((Exists("timestamp"), Range("timestamp", at_least="2000-01-01T00:00:00Z")))),
]

SORTS = [
    (Sort("depth"),),
    (Sort("depth", descending=True),),
    (Sort("size", descending=True),),
    (Sort("size"), Sort("depth", descending=True)),
    (Sort("file_format"),),
    (Sort("file_format", descending=True), Sort("depth")),
    (Sort("filename"),),
    (Sort("filename", descending=True),),
    (Sort("timestamp"),),
    (Sort("timestamp", descending=True),),
    (Sort("features.enriched.float"),),
    (Sort("features.enriched.float", descending=True),),
    (Sort("features.offset"),),
    (Sort("features.offset", descending=True), Sort("timestamp")),
    (Sort("features_map.seen"),),
    (Sort("features_map.never"), Sort("features_map.seen", descending=True)),
]


@pytest_asyncio.fixture(params=KINDS, scope="module", loop_scope="module")
async def index(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Index]:
    """Give an index that holds the corpus; the tests only read.

    SQLite has two ways to order hits, and takes the second only when there are many.
    """
    kind, _, way = request.param.partition(" ")
    with pytest.MonkeyPatch.context() as patch:
        if way:
            patch.setattr(sqlite_search, "WALK_FROM_PAGES", 0)
        async with an_index(kind, tmp_path_factory.mktemp("queries")) as made:
            assert await made.put([*CORPUS, *PLUGINS]) == []
            await made.refresh()
            yield made


@pytest.mark.parametrize("condition", CONDITIONS, ids=repr)
async def test_a_condition_finds_what_it_says_and_counts_it(index: Index, condition: Condition) -> None:
    wanted = expected(CORPUS, Query(condition))
    page = await index.search("binary2", Query(condition, limit=100))
    assert [hit.id for hit in page.hits] == wanted
    assert (page.total, page.next) == (len(wanted), None)


@pytest.mark.parametrize("sort", SORTS, ids=repr)
@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_pages_show_everything_once_in_order_and_missing_values_last(
    index: Index, sort: tuple[Sort, ...], limit: int
) -> None:
    query = Query(sort=sort, limit=limit)
    assert await all_ids(index, "binary2", query) == expected(CORPUS, query)


async def test_pages_of_a_narrowed_search_stay_narrowed(index: Index) -> None:
    query = Query(Exists("depth"), sort=(Sort("magic"),), limit=2)
    assert await all_ids(index, "binary2", query) == expected(CORPUS, query)
    assert (await index.search("binary2", query)).total == 5


@pytest.mark.parametrize("where", [And(()), Exists("filename"), Text("text"), Or(())], ids=repr)
@pytest.mark.parametrize("field", ["file_format", "filename", "features_map.seen", "features_map.never"])
async def test_groups_count_each_document_once_a_value(index: Index, field: str, where: Condition) -> None:
    for limit in (1, 2, 50):
        group = Group(field, where, limit)
        assert await index.group("binary2", group) == expected_groups(CORPUS, group)


@pytest.mark.parametrize(
    ("field", "groups"),
    [
        ("size", [("0", 1), ("10", 1), ("11", 1), (f"{2**63 - 1}", 1)]),
        ("depth", [(f"{-(2**31)}", 1), ("-5", 1), ("0", 1), ("3", 1), (f"{2**31 - 1}", 1)]),
        ("features.enriched.float", [("-1e+300", 1), ("0.5", 1), ("7.0", 1)]),
        ("features.enriched.ip", [("10.0.0.9", 1), ("10.0.0.10", 1), ("2001:db8::1", 1)]),
        ("source.timestamp", [("2024-03-14T09:00:00.000Z", 1)]),
        ("binary_info", [("metadata", len(CORPUS))]),
    ],
)
async def test_groups_name_values_of_every_type_alike(
    index: Index, field: str, groups: list[tuple[str, int]]
) -> None:
    assert await index.group("binary2", Group(field)) == groups


async def test_truth_values_are_found_and_grouped(index: Index) -> None:
    field = "entity.config.is_processing_download_events"
    for wanted, ids in ((True, ["downloads"]), ("false", ["does not"])):
        assert await all_ids(index, "plugin", Query(Term(field, (wanted,)))) == ids
    assert await all_ids(index, "plugin", Query(Exists(field))) == ["does not", "downloads"]
    assert await index.group("plugin", Group(field)) == [("false", 1), ("true", 1)]
    assert (await all_ids(index, "plugin", Query(sort=(Sort(field),), limit=1)))[2] == "says nothing"


@pytest.mark.parametrize(
    ("field", "typed", "same_as"),
    [
        ("depth", "3", 3),
        ("depth", "+3", 3),
        ("size", "1e1", 10),
        ("features.enriched.float", ".5", 0.5),
        ("features.enriched.ip", "2001:0db8:0::1", "2001:db8::1"),
        ("timestamp", "2024-03-14T09", TIMES[2]),
        ("timestamp", "1710406800000", TIMES[2]),
        ("timestamp", 1710406800000, TIMES[2]),
    ],
)
async def test_values_are_understood_as_people_type_them(
    index: Index, field: str, typed: Any, same_as: Any
) -> None:
    found = await all_ids(index, "binary2", Query(Term(field, (typed,))))
    assert found
    assert found == await all_ids(index, "binary2", Query(Term(field, (same_as,))))


@pytest.mark.parametrize(
    "condition",
    [
        Term("no_such_field", ("x",)),
        Term("author", ("x",)),
        Term("", ("x",)),
        Term("features_map", ("x",)),
        Term("features_map.a.b", ("x",)),
        Term("features_map.", ("x",)),
        Term("info.anything", ("x",)),
        Term("text", ("x",)),
        Term("document_id", ("x",)),
        Term("tlsh_vector", (1,)),
        Term("features.encoded.location", (1,)),
        Term("encoded_ssdeep.chunk", ("x",)),
        Term("file_format); DROP TABLE terms; --", ("x",)),
        Term("depth", ("three",)),
        Term("depth", ("1_000",)),
        Term("depth", (True,)),
        Term("timestamp", ("yesterday",)),
        Term("timestamp", (1.5,)),
        Term("timestamp", (10**18,)),
        Term("features.enriched.ip", ("10.0.0.0/8",)),
        Term("features.enriched.float", (float("nan"),)),
        Term("features.enriched.float", (10**400,)),
        Term("file_format", ("\ud800",)),
        Prefix("depth", "3"),
        Prefix("file_format", "\ud800"),
        Range("binary_info", at_least="a"),
        Range("timestamp", at_least="soon"),
        Range("depth", below=float("inf")),
        Exists("author"),
        Text(""),
        Text("?! --"),
        Text("\ud800"),
        And(tuple(Term("depth", (n,)) for n in range(limits.QUERY_PARTS_MAX))),
        Term("depth", tuple(range(limits.QUERY_VALUES_MAX + 1))),
        Text(" ".join(f"w{n}" for n in range(limits.QUERY_PARTS_MAX + 1))),
    ],
    ids=lambda condition: repr(condition)[:60],
)
async def test_a_query_that_makes_no_sense_is_refused_not_guessed(
    index: Index, condition: Condition
) -> None:
    for where in (condition, Not(condition), And((Exists("depth"), Or((condition,))))):
        with pytest.raises(QueryError):
            await index.search("binary2", Query(where))
        with pytest.raises(QueryError):
            await index.group("binary2", Group("depth", where))


@pytest.mark.parametrize(
    "query",
    [
        Query(limit=0),
        Query(limit=-1),
        Query(limit=limits.SEARCH_PAGE_MAX + 1),
        Query(sort=(Sort("no_such_field"),)),
        Query(sort=(Sort("text"),)),
        Query(sort=tuple(Sort("depth") for _ in range(limits.QUERY_SORTS_MAX + 1))),
        Query(after=""),
        Query(after="not a mark"),
        Query(after="AAAA"),
        Query(after="\ud800"),
        Query(after="A" * 100_000),
    ],
    ids=lambda query: repr(query)[:60],
)
async def test_limits_orders_and_marks_that_make_no_sense_are_refused(index: Index, query: Query) -> None:
    with pytest.raises(QueryError):
        await index.search("binary2", query)


async def test_groups_that_make_no_sense_are_refused(index: Index) -> None:
    for group in (
        Group("no_such_field"),
        Group("text"),
        Group("depth", limit=0),
        Group("depth", limit=100_000),
    ):
        with pytest.raises(QueryError):
            await index.group("binary2", group)


async def test_an_unknown_family_is_refused(index: Index) -> None:
    with pytest.raises(QueryError, match="no such family"):
        await index.search("secrets", Query())  # type: ignore[arg-type]


async def test_a_mark_of_another_search_is_refused(index: Index) -> None:
    page = await index.search("binary2", Query(sort=(Sort("depth"),), limit=2))
    assert page.next
    for query in (
        Query(after=page.next),
        Query(sort=(Sort("depth", descending=True),), after=page.next),
        Query(Exists("depth"), sort=(Sort("depth"),), after=page.next),
    ):
        with pytest.raises(QueryError, match="another search"):
            await index.search("binary2", query)
    for at in range(0, len(page.next), 7):
        broken = page.next[:at] + ("B" if page.next[at] == "A" else "A") + page.next[at + 1 :]
        try:
            answer = await index.search("binary2", Query(sort=(Sort("depth"),), after=broken))
        except QueryError:
            continue
        assert {hit.id for hit in answer.hits} <= {each.id for each in CORPUS}


async def test_a_search_may_go_to_the_limit_of_depth_and_parts(index: Index) -> None:
    deep: Condition = Term("depth", (3,))
    for _ in range((limits.QUERY_DEPTH_MAX - 1) // 2):
        deep = And((Or((deep,)),))
    assert await all_ids(index, "binary2", Query(deep)) == ["a"]
    nots: Condition = Term("depth", (3,))
    for _ in range(limits.QUERY_DEPTH_MAX - 2):
        nots = Not(nots)
    assert await all_ids(index, "binary2", Query(nots)) == ["a"]
    with pytest.raises(QueryError, match="deep"):
        await index.search("binary2", Query(Not(Not(nots))))
    wide = Or(tuple(Term("depth", (n,)) for n in range(3, limits.QUERY_PARTS_MAX + 2)))
    assert await all_ids(index, "binary2", Query(wide)) == ["a"]
    many = Term("depth", tuple(range(limits.QUERY_VALUES_MAX)))
    assert await all_ids(index, "binary2", Query(many)) == ["a", "b"]
