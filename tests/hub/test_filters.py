"""Who receives an event (dispatcher contract, sections 12 and 27)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import limits
from pipeline.events.names import ACTIONS
from pipeline.hub.fetch.filters import DEPTH_MAX, DEPTH_MAX_TASK, Filter
from pipeline.hub.fetch.glance import Glance, Glances, Shape
from pipeline.hub.wanted import Wanted
from tests.events.samples import BINARY, DOWNLOAD, NODE, PLUGIN, SOURCE, STATUS

RULES = "FilterConsumerRules-"


def consumer(**wanted: Any) -> Wanted:
    return msgspec.convert({"name": "me", "version": "1", "model": "binary", **wanted}, Wanted)


def judging(depth_max: int = DEPTH_MAX, *, readable: bool = True, **wanted: Any) -> Filter:
    return Filter(consumer(**wanted), depth_max=depth_max, can_read=lambda _held, _marking: readable)


def stream(label: str, file_format: str = "", size: int = 100) -> dict[str, Any]:
    return {"label": label, "file_format": file_format, "size": size}


def binary(*streams: dict[str, Any], **changes: Any) -> Glance:
    event = {**BINARY, "entity": {"sha256": "aa", "datastreams": streams}, **changes}
    return Glances().at("binary", msgspec.json.encode(event))


LIVE = {
    "sourced": binary(stream("content", "text/plain"), action="sourced"),
    "augmented": binary(
        stream("content", "text/plain"), stream("pcap", "network/tcpdump"), action="augmented"
    ),
    "extracted": binary(stream("content", "executable/windows/pe32"), action="extracted"),
    "enriched": binary(action="enriched"),
}


@pytest.mark.parametrize(
    ("wanted", "returned", "counts"),
    [
        (
            {"require_streams_map": {"content": {}}},
            ["sourced", "extracted", "enriched"],
            {"reject_stream": 1},
        ),
        (
            {"require_streams_map": {"content": {"text": True}}},
            ["sourced", "enriched"],
            {"reject_file_format": 1, "reject_stream": 1},
        ),
        (
            {"require_streams_map": {"content": {}, "pcap": {"network": True}}},
            ["augmented"],
            {"reject_stream": 3},
        ),
        (
            {"require_streams_map": {"*": {"text": True}}},
            ["sourced", "enriched"],
            {"reject_file_format": 2},
        ),
        (
            {"require_under_content_size": 50},
            [],
            {"reject_content_too_large": 3, "reject_no_content": 1},
        ),
    ],
)
def test_the_filter_counters_of_the_worked_examples(
    wanted: dict[str, Any], returned: list[str], counts: dict[str, int]
) -> None:
    judge = judging(**wanted).judge
    said = {action: judge(event) for action, event in LIVE.items()}
    assert [action for action, fault in said.items() if fault is None] == returned
    faults = [fault for fault in said.values() if fault]
    assert {fault.removeprefix(RULES): faults.count(fault) for fault in faults} == counts


@pytest.mark.parametrize(
    ("wanted", "event", "fault"),
    [
        ({"require_sources": ("other",)}, LIVE["sourced"], "reject_source"),
        ({"require_sources": ("other", "testing")}, LIVE["sourced"], None),
        ({"require_events": ("extracted",)}, LIVE["sourced"], "reject_event_type"),
        ({"deny_events": ("sourced",)}, LIVE["sourced"], "reject_event_type"),
        ({"deny_self": True, "name": "plug"}, LIVE["sourced"], "reject_self"),
        ({"deny_self": True, "name": "plug", "version": "of another"}, LIVE["sourced"], "reject_self"),
        ({"name": "plug"}, LIVE["sourced"], None),
        ({"require_content": True}, LIVE["enriched"], "reject_no_content"),
        ({"require_content": True}, LIVE["sourced"], None),
        ({"require_over_content_size": 101}, LIVE["sourced"], "reject_content_too_small"),
        ({"require_over_content_size": 101}, LIVE["enriched"], "reject_no_content"),
        ({"require_over_content_size": 100, "require_under_content_size": 100}, LIVE["sourced"], None),
        # Streams that are not content may have any size.
        ({"require_under_content_size": 100}, binary(stream("content"), stream("pcap", size=900)), None),
        # Streams are judged in their order, and their number counts, not their labels.
        (
            {"require_streams_map": {"content": {}}, "require_under_content_size": 50},
            binary(stream("pcap"), stream("content")),
            "reject_stream",
        ),
        (
            {"require_streams_map": {"content": {}}, "require_under_content_size": 50},
            binary(stream("content"), stream("pcap")),
            "reject_content_too_large",
        ),
        (
            {"require_streams_map": {"content": {}, "text": {}}},
            binary(stream("content"), stream("content")),
            None,
        ),
        (
            {"require_streams_map": {"content": {}, "*": {"text": True}}},
            LIVE["augmented"],
            "reject_file_format",
        ),
        ({"require_sources": ("other",), "deny_events": ("sourced",)}, LIVE["sourced"], "reject_source"),
    ],
)
def test_the_first_rule_that_hits_decides(wanted: dict[str, Any], event: Glance, fault: str | None) -> None:
    assert judging(**wanted).judge(event) == (fault and RULES + fault)


@pytest.mark.parametrize("depth_max", [DEPTH_MAX_TASK, DEPTH_MAX])
def test_an_event_with_too_many_hops_never_passes(depth_max: int) -> None:
    deep = binary(source={**SOURCE, "path": [NODE] * (depth_max + 1)})
    judge = judging(depth_max, require_sources=("other",), max_security="LOW", readable=False).judge
    assert judge(deep) == "FilterTooDeep-too_deep"
    assert judging(depth_max).judge(binary(source={**SOURCE, "path": [NODE] * depth_max})) is None


def test_security_is_asked_only_when_both_markings_are_there() -> None:
    high, asked = binary(source={**SOURCE, "security": "HIGH"}), []

    def can_read(held: str, marking: str) -> bool:
        asked.append((held, marking))
        return False

    limited = Filter(consumer(max_security="LOW"), depth_max=DEPTH_MAX, can_read=can_read)
    assert limited.judge(high) == "FilterSecurity-max_security"
    assert limited.judge(high) == "FilterSecurity-max_security"
    assert asked == [("LOW", "HIGH")], "what was said of a shape is remembered"
    assert limited.judge(LIVE["sourced"]) is None
    assert judging(readable=False).judge(high) is None


def test_downloads_have_security_alone() -> None:
    event = {**DOWNLOAD, "source": {**SOURCE, "security": "HIGH"}}
    high = Glances().at("download", msgspec.json.encode(event))
    wanted: dict[str, Any] = {
        "model": "download",
        "deny_self": True,
        "name": "",
        "require_sources": ("other",),
    }
    assert (
        judging(**wanted, max_security="LOW", readable=False).judge(high) == "FilterSecurity-max_security"
    )
    assert judging(**wanted, max_security="LOW").judge(high) is None


def test_statuses_are_judged_by_the_origin_of_their_input_alone() -> None:
    task = {**STATUS["entity"]["input"], "author": {"name": "opener"}, "action": "extracted"}
    status = Glances().at("status", msgspec.json.encode({**STATUS, "entity": {"input": task}}))
    for wanted, fault in (
        ({"require_sources": ("other",)}, "reject_source"),
        ({"require_events": ("sourced",)}, "reject_event_type"),
        ({"deny_events": ("extracted",)}, "reject_event_type"),
        ({"deny_self": True, "name": "opener"}, "reject_self"),
        ({"deny_self": True, "name": "plug"}, None),
        ({"require_under_content_size": 1, "require_streams_map": {"text": {}, "pcap": {}}}, None),
    ):
        assert judging(model="status", **wanted).judge(status) == (fault and RULES + fault)


def test_other_models_pass_whatever_is_asked() -> None:
    plugin = Glances().at("plugin", msgspec.json.encode(PLUGIN))
    every = judging(
        model="plugin",
        name="",
        deny_self=True,
        require_sources=("x",),
        require_content=True,
        require_streams_map={"a": {}, "b": {}},
        max_security="LOW",
        readable=False,
    )
    assert every.judge(plugin) is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HUB_VERDICTS_MAX", 10)
    narrow = judging(require_sources=("even",))
    for number in range(100):
        shape = Shape("even" if number % 2 == 0 else "odd", "", "sourced", str(number), 1, (), ())
        assert (narrow.judge_shape(shape) is None) == (number % 2 == 0)
    assert len(narrow.judge_shape.__self__) <= 10  # type: ignore[attr-defined] # bound to what remembers


LABELS = st.sampled_from(["content", "text", "pcap"])
FORMATS = st.sampled_from(["", "text/plain", "text/html", "network/tcpdump"])
STARTS = st.sets(st.sampled_from(["text", "text/html", "network", ""]), max_size=2)
SIZES = st.integers(min_value=0, max_value=5)
NAMES = st.sampled_from(["me", "you", ""])
WANTED = st.fixed_dictionaries(
    {
        "name": NAMES,
        "model": st.sampled_from(["binary", "status", "download", "plugin"]),
        "require_sources": st.lists(NAMES, max_size=2),
        "require_events": st.lists(st.sampled_from(ACTIONS), max_size=2),
        "deny_events": st.lists(st.sampled_from(ACTIONS), max_size=1),
        "deny_self": st.booleans(),
        "require_content": st.booleans(),
        "require_streams_map": st.dictionaries(
            st.one_of(LABELS, st.just("*")),
            STARTS.map(lambda starts: dict.fromkeys(starts, True)),
            max_size=3,
        ),
        "require_under_content_size": SIZES,
        "require_over_content_size": SIZES,
        "max_security": NAMES,
    }
)
EVENTS = st.builds(
    lambda source, security, action, author, depth, streams: Glance(
        Shape(
            source,
            security,
            action,
            author,
            depth,
            tuple((a, b) for a, b, _ in streams),
            tuple(place for place, (label, _, _) in enumerate(streams) if label == "content"),
        ),
        tuple(size for _, _, size in streams),
        *("", "", "", "", True, False, False),
    ),
    NAMES,
    NAMES,
    st.sampled_from(ACTIONS),
    NAMES,
    st.integers(min_value=1, max_value=4),
    st.lists(st.tuples(LABELS, FORMATS, SIZES), max_size=3),
)


def by_the_contract(want: Wanted, event: Glance, depth_max: int) -> str | None:  # noqa: C901, PLR0911, PLR0912
    """Section 12, steps 2 to 4, sentence by sentence."""
    shape = event.shape
    if want.model == "binary" and shape.depth > depth_max:
        return "FilterTooDeep-too_deep"
    both = want.max_security != "" and shape.security != ""
    if want.model in {"binary", "download"} and both and want.max_security != shape.security:
        return "FilterSecurity-max_security"
    if want.model not in {"binary", "status"}:
        return None
    if len(want.require_sources) > 0 and want.require_sources.count(shape.source) == 0:
        return "FilterConsumerRules-reject_source"
    if len(want.require_events) > 0 and want.require_events.count(shape.action) == 0:
        return "FilterConsumerRules-reject_event_type"
    if want.deny_events.count(shape.action) > 0:
        return "FilterConsumerRules-reject_event_type"
    if want.deny_self and want.name == shape.author:
        return "FilterConsumerRules-reject_self"
    if want.model == "status":
        return None
    under, over, entries = (
        want.require_under_content_size,
        want.require_over_content_size,
        want.require_streams_map,
    )
    for index in range(len(shape.streams)):
        label, file_format = shape.streams[index]
        if label == "content" and under > 0 and event.sizes[index] > under:
            return "FilterConsumerRules-reject_content_too_large"
        if label == "content" and over > 0 and event.sizes[index] < over:
            return "FilterConsumerRules-reject_content_too_small"
        if len(entries) > 0:
            if label not in entries and "*" not in entries:
                return "FilterConsumerRules-reject_stream"
            formats = entries[label] if label in entries else entries["*"]
            if len(formats) > 0 and all(file_format[: len(start)] != start for start in formats):
                return "FilterConsumerRules-reject_file_format"
    if len(entries) > 1 and len(shape.streams) < len(entries):
        return "FilterConsumerRules-reject_stream"
    if (want.require_content or under > 0 or over > 0) and content_sizes(event) == []:
        return "FilterConsumerRules-reject_no_content"
    return None


def content_sizes(event: Glance) -> list[int]:
    return [
        size
        for (label, _), size in zip(event.shape.streams, event.sizes, strict=True)
        if label == "content"
    ]


@given(WANTED, st.lists(EVENTS, min_size=1, max_size=5))
def test_no_event_is_judged_otherwise_than_the_contract_says(
    asked: dict[str, Any], events: list[Glance]
) -> None:
    want = consumer(**asked)
    tried = Filter(want, depth_max=3, can_read=lambda held, marking: held == marking)
    for event in events * 2:
        said = by_the_contract(want, event, 3)
        assert tried.judge(event) == said
        if all(tried.over <= size <= tried.under for size in content_sizes(event)):
            assert tried.judge_shape(event.shape) == said
