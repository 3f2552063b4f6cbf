"""Documents of events are taken by every index, whatever the events hold, and found by what they hold."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.events.models import DownloadEvent, Event, PluginEvent, StatusEvent
from pipeline.index.documents import documents_of
from pipeline.index.port import Document, Index
from pipeline.index.query import Exists, Family, Prefix, Query, Term, Text
from tests.index.events import SOURCES, UNZIP, A, B, event
from tests.index.support import all_ids, an_index

KINDS = ["sqlite", pytest.param("opensearch", marks=pytest.mark.opensearch)]

unicode = st.characters(codec="utf-8")
names = st.text(unicode, max_size=12) | st.sampled_from(["a.b", ".", "..", " ", "*", "label"])
texts = st.text(unicode, max_size=30) | st.sampled_from(["x" * 9000, "é" * 33_000])
kinds = st.sampled_from(["integer", "float", "string", "binary", "datetime", "filepath", "uri", "other"])
features = st.fixed_dictionaries(
    {"name": names, "value": texts | st.integers().map(str) | st.floats().map(str), "type": kinds},
    optional={"offset": st.integers(0, 2**62), "size": st.integers(0, 2**62), "label": texts},
)
json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
pairs = st.dictionaries(names, texts, max_size=2)
changes = st.fixed_dictionaries(
    {},
    optional={
        "entity__features": st.lists(features, max_size=3),
        "entity__info": json,
        "entity__magic": texts,
        "entity__size": st.integers(0, 2**63 - 1),
        "source__references": pairs,
        "source__settings": pairs,
        "relationship": pairs,
        "action": st.sampled_from(["sourced", "extracted", "augmented", "mapped", "enriched"]),
    },
)


_microseconds = itertools.count()


class Taker:
    """A loop with an index."""

    def __init__(self, runner: asyncio.Runner, index: Index) -> None:
        self._runner = runner
        self._index = index

    def take(self, documents: list[Document]) -> list[Any]:
        """Put documents and return what was refused."""
        return list(self._runner.run(self._index.put(documents)))

    def refresh(self) -> None:
        """Make what was put visible."""
        self._runner.run(self._index.refresh())

    def find(self, family: Family, query: Query) -> list[str]:
        """Return the ids a search finds."""
        return self._runner.run(all_ids(self._index, family, query))


@pytest.fixture(params=KINDS, scope="module")
def taker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taker]:
    """Give an index to many examples."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        index = runner.run(
            stack.enter_async_context(an_index(request.param, tmp_path_factory.mktemp("taker")))
        )
        yield Taker(runner, index)
        runner.run(stack.aclose())


def documents(of: Event) -> list[Document]:
    """Return the documents of an event."""
    return documents_of(of, sources=SOURCES, default_security="official")


# A failing example may be long; it has to be shown all the same.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(changed={"entity__features": [{"name": "path", "value": "é" * 33_000, "type": "filepath"}]})
@given(changed=changes)
def test_nothing_an_event_holds_makes_its_document_refused(taker: Taker, changed: dict[str, Any]) -> None:
    relationship = changed.pop("relationship", {})
    path = list(msgspec.to_builtins(event().source.path))
    path[1] = path[1] | {"relationship": relationship}
    # Each example is newer than the one before, or it would be skipped unread.
    newer = f"2024-03-14T09:00:00.{next(_microseconds):06}Z"
    assert taker.take(documents(event(source__path=path, timestamp=newer, **changed))) == []


def test_a_binary_is_found_by_hash_field_text_and_source(taker: Taker) -> None:
    found = documents(event(entity__sha256="c" * 64, source__references={"user": "someone"}))
    assert taker.take(found) == []
    taker.refresh()
    parent, child = (each.id for each in found)
    assert parent in taker.find("binary2", Query(Term("binary_info", ("binary",))))
    for condition in (
        Term("source.encoded_references.key_value", ("user.someone",)),
        Text("SOMEONE note txt"),
        Prefix("track_source_references_grouped", "testing."),
        Exists("parent.sha256"),
        Term("parent.sha256", (B,)),
        Term("features.enriched.filepath", ("C:/x/note.txt",)),
        Term("filename", ("C:\\x\\note.txt",)),
    ):
        assert child in taker.find("binary2", Query(condition)), condition
        assert parent not in taker.find("binary2", Query(condition)), condition


def test_statuses_downloads_and_plugins_are_taken_and_found(taker: Taker) -> None:
    time = "2024-03-14T09:00:06Z"
    status = msgspec.convert(
        {
            "kafka_key": "s",
            "timestamp": time,
            "author": UNZIP,
            "model_version": 6,
            "entity": {
                "status": "error-timeout",
                "error": "too slow",
                "message": "m" * 5000,
                "input": {"entity": {"sha256": A}},
            },
        },
        StatusEvent,
    )
    download = DownloadEvent(kafka_key="d", timestamp=time, action="requested")
    config = {"is_processing_download_events": "true", "": "1", "a..b": "2"}
    feature = {"name": "filename", "desc": "member name", "type": "filepath", "tags": ["t"]}
    plugin = msgspec.convert(
        {
            "kafka_key": "p",
            "timestamp": time,
            "author": UNZIP,
            "entity": {"name": "unzip", "config": config, "features": [feature]},
        },
        PluginEvent,
    )
    for each in (status, download, plugin):
        assert taker.take(documents(each)) == []
    taker.refresh()
    assert taker.find("status", Query(Term("entity.input.entity.sha256", (A,)))) == ["s"]
    assert taker.find("status", Query(Text("too slow unzip"))) == ["s"]
    assert taker.find("status", Query(Term("entity.status", ("download-requested",)))) == ["d"]
    assert taker.find("plugin", Query(Text("member name"))) == ["p"]
