"""What is remembered of a fetch request (dispatcher contract, section 23)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from pipeline.errors import Damaged
from pipeline.hub.wanted import Wanted, decode_wanted

WANTED = Wanted(
    user_agent="plug/1",
    model="binary",
    name="plug",
    version="1.0",
    count=7,
    deadline=10,
    is_task=True,
    require_sources=("b", "a"),
    require_events=("sourced",),
    require_streams_map={"content": {"text/": True}, "pcap": {}},
    require_under_content_size=50,
    require_live=True,
    require_historic=True,
    deny_events=("mapped",),
    max_security="LOW",
)


def test_the_stored_form_has_the_names_of_the_contract() -> None:
    assert json.loads(WANTED.encode()) == {
        "user_agent": "plug/1",
        "model": "binary",
        "avro": False,
        "debug": False,
        "reset": False,
        "name": "plug",
        "version": "1.0",
        "count": 7,
        "deadline": 10,
        "is_task": True,
        "require_sources": ["b", "a"],
        "require_sources_map": {"b": True, "a": True},
        "require_events": ["sourced"],
        "require_events_map": {"sourced": True},
        "require_content": False,
        "require_streams_map": {"content": {"text/": True}, "pcap": {}},
        "require_under_content_size": 50,
        "require_over_content_size": 0,
        "require_expedite": False,
        "require_live": True,
        "require_historic": True,
        "deny_events": ["mapped"],
        "deny_events_map": {"mapped": True},
        "deny_self": False,
        "max_security": "LOW",
    }


def test_nothing_is_lost_when_it_is_stored_and_read() -> None:
    assert decode_wanted(WANTED.encode()) == WANTED
    told = Wanted(
        model="status", name="n", version="", deployment_key="d", filter="author.name", debug=True
    )
    assert decode_wanted(told.encode()) == told
    assert {"deployment_key", "filter"} <= set(json.loads(told.encode()))


def test_what_is_no_registration_is_damaged() -> None:
    with pytest.raises(Damaged):
        decode_wanted(b'{"name": 1}')


def test_its_key_keeps_the_order_of_sources() -> None:
    assert WANTED.consumer.key == "plug-1.0-binary-b.a-sourced-LH"
    assert WANTED.consumer.subscriptions == ("live", "historic")


def test_requests_that_judge_alike_share_their_rules() -> None:
    same: list[dict[str, Any]] = [
        {"count": 1},
        {"user_agent": "x"},
        {"require_live": False},
        {"require_sources": ("a", "b")},
    ]
    for change in same:
        assert msgspec.structs.replace(WANTED, **change).rules == WANTED.rules, change
    different: list[dict[str, Any]] = [
        {"require_under_content_size": 51},
        {"require_streams_map": {"content": {}}},
        {"max_security": "HIGH"},
        {"is_task": False},
        {"deny_self": True},
        {"filter": "author"},
        {"deny_events": ()},
        {"require_events": ()},
        {"require_sources": ("a",)},
        {"require_content": True},
        {"require_over_content_size": 1},
        {"model": "status"},
    ]
    for change in different:
        assert msgspec.structs.replace(WANTED, **change).rules != WANTED.rules, change
