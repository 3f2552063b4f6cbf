"""The rules of validity, one by one and in their order."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given

from pipeline.errors import EventInvalid
from pipeline.events import validity
from pipeline.events.codec import decode_posted
from pipeline.events.models import BinaryEvent
from pipeline.events.names import LABELS
from tests.events.samples import BINARY, BY_MODEL, NODE, STATUS, body, changed
from tests.events.strategies import VALID_BINARIES


def fault(model: str, sample: dict[str, Any]) -> str | None:
    """Return the reason one posted sample fails for, None when it is accepted."""
    posted = decode_posted(model, body(sample))
    return posted.failures[0].error if posted.failures else None


def streams(*labels: str) -> list[dict[str, Any]]:
    """Make datastreams with these labels."""
    return [{"label": label} for label in labels]


def with_action(action: str, *labels: str) -> dict[str, Any]:
    """Make a binary event of an action with these streams."""
    return changed(changed(BINARY, "action", action), "entity.datastreams", streams(*labels))


Broken = tuple[str, Any, str]
BROKEN_IN_ORDER: list[Broken] = [
    ("author.name", "", "'author'"),
    ("action", "", "'action'"),
    ("source.path", [], "'source.path'"),
    ("source.name", "", "'source.name'"),
    ("source.path.0.sha256", "", "'sha256'"),
    ("source.path.0.action", "", "'action'"),
    ("source.path.0.author.name", "", "'author.name'"),
    ("entity.datastreams.0.label", "unheard", "unknown label"),
    ("action", "eaten", "unknown 'action'"),
]


@pytest.mark.parametrize(("path", "value", "reason"), BROKEN_IN_ORDER)
def test_each_rule_refuses_what_breaks_it(path: str, value: Any, reason: str) -> None:
    assert fault("binary", BINARY) is None
    assert reason in (fault("binary", changed(BINARY, path, value)) or "")


@pytest.mark.parametrize(("first", "later"), list(itertools.combinations(BROKEN_IN_ORDER, 2)))
def test_the_first_rule_broken_gives_the_reason(first: Broken, later: Broken) -> None:
    sample = changed(changed(BINARY, later[0], later[1]), first[0], first[1])
    assert first[2] in (fault("binary", sample) or "")


@pytest.mark.parametrize(
    "sample",
    [
        with_action("sourced", "content"),
        with_action("extracted", "content", "text"),
        with_action("augmented", "content", "pcap"),
        with_action("mapped"),
        with_action("mapped", "text"),
        with_action("enriched"),
    ],
)
def test_what_the_rules_allow_is_accepted(sample: dict[str, Any]) -> None:
    assert fault("binary", sample) is None


@pytest.mark.parametrize(
    "sample",
    [
        with_action("sourced"),
        with_action("sourced", "text"),
        with_action("extracted", "text"),
        with_action("augmented", "text", "pcap"),
        with_action("augmented", "content"),
        with_action("augmented", "content", "content"),
        with_action("mapped", "content"),
        with_action("enriched", "text"),
    ],
)
def test_streams_that_do_not_fit_the_action_are_refused(sample: dict[str, Any]) -> None:
    assert "stream" in (fault("binary", sample) or "")


@pytest.mark.parametrize("label", sorted(LABELS))
def test_every_label_of_the_closed_list_is_accepted(label: str) -> None:
    assert (
        fault("binary", with_action("augmented", "content", label if label != "content" else "text"))
        is None
    )


def test_the_closed_list_of_labels_is_the_one_of_the_contract() -> None:
    assert sorted(LABELS) == [
        "assemblyline",
        "cape_report",
        "content",
        "cs_call_tree",
        "decompiled_c",
        "decompiled_cs",
        "decompiled_java",
        "deob_js",
        "password_dictionary",
        "pcap",
        "report",
        "safe_png",
        "screenshot",
        "test",
        "text",
        "yara_rule_hit",
    ]


def test_enriched_is_allowed_in_a_path_only_at_its_end() -> None:
    enriched = {**NODE, "action": "enriched"}
    assert fault("binary", changed(BINARY, "source.path", [NODE, enriched])) is None
    assert "enriched" in (fault("binary", changed(BINARY, "source.path", [enriched, NODE])) or "")


def test_an_unknown_action_in_a_path_is_refused() -> None:
    assert "unknown 'action'" in (fault("binary", changed(BINARY, "source.path.0.action", "eaten")) or "")


@pytest.mark.parametrize("size", [2**64 - 1, 2**64])
@pytest.mark.parametrize(
    "path", ["entity.size", "entity.datastreams.0.size", "source.path.0.size", "entity.features.0.offset"]
)
def test_numbers_above_64_bits_are_refused_and_the_largest_is_not(path: str, size: int) -> None:
    feature = {"name": "f", "value": "v", "type": "string"}
    sample = changed(changed(BINARY, "entity.features", [feature]), path, size)
    assert (fault("binary", sample) is None) == (size < 2**64)


@pytest.mark.parametrize("model", sorted(BY_MODEL))
def test_every_model_needs_an_author_with_a_name(model: str) -> None:
    assert fault(model, BY_MODEL[model]) is None
    assert "'author'" in (fault(model, changed(BY_MODEL[model], "author.name", "")) or "")


def test_a_status_needs_the_id_of_its_task_and_its_input_is_not_looked_at_further() -> None:
    assert "dequeued" in (fault("status", changed(STATUS, "entity.input.dequeued", "")) or "")
    assert fault("status", changed(STATUS, "entity.input", {"dequeued": "made.up"})) is None


def test_a_status_with_an_invalid_result_is_refused() -> None:
    bad = changed(BINARY, "action", "enriched")
    sample = changed(STATUS, "entity.results", [BINARY, bad])
    assert "results[1]" in (fault("status", sample) or "")


@pytest.mark.parametrize("status", ["heartbeat", "dequeued", "completed", "error-of-tomorrow"])
def test_any_text_is_a_status(status: str) -> None:
    assert fault("status", changed(STATUS, "entity.status", status)) is None


@pytest.mark.parametrize(
    "path",
    ["parent_sha256", "child_history.sha256", "child_history.action", "child_history.author.name"],
)
def test_an_insert_needs_its_names(path: str) -> None:
    assert path in (fault("insert", changed(BY_MODEL["insert"], f"entity.{path}", "")) or "")


def test_an_insert_needs_known_labels() -> None:
    sample = changed(BY_MODEL["insert"], "entity.child.datastreams", streams("unheard"))
    assert "label" in (fault("insert", sample) or "")


def test_a_download_may_have_an_empty_path_but_no_broken_node_or_unknown_action() -> None:
    download = BY_MODEL["download"]
    assert fault("download", changed(download, "source.path", [])) is None
    assert "sha256" in (fault("download", changed(download, "source.path", [{**NODE, "sha256": ""}])) or "")
    assert "source.name" in (fault("download", changed(download, "source.name", "")) or "")
    assert "'action'" in (fault("download", changed(download, "action", "eaten")) or "")


@pytest.mark.parametrize("model", ["delete", "plugin", "retrohunt"])
def test_other_models_need_nothing_more(model: str) -> None:
    bare = {"model_version": 6, "author": {"name": "bob"}}
    assert fault(model, bare) is None


@given(VALID_BINARIES)
def test_valid_events_are_accepted(event: BinaryEvent) -> None:
    assert validity.fault(event) is None
    validity.check(event)


def test_check_says_what_is_wrong() -> None:
    with pytest.raises(EventInvalid, match="missing 'author' field"):
        validity.check(BinaryEvent())
