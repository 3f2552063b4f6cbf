"""Which consumers would take an event (dispatcher contract, section 15)."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.events.binary import BinaryEvent
from pipeline.hub.simulate import Simulated, simulate
from tests.events.samples import BINARY, NODE, SOURCE
from tests.hub.test_filters import consumer


def event(**changes: Any) -> BinaryEvent:
    return msgspec.convert({**BINARY, **changes}, BinaryEvent)


def test_each_consumer_is_asked_in_turn_by_its_own_rules() -> None:
    consumers = [
        consumer(name="entropy", version="1.0", require_over_content_size=4),
        consumer(name="entropy", version="1.0"),
        consumer(name="other", is_task=True, deny_events=["sourced"]),
    ]
    assert simulate(event(), consumers) == [
        Simulated("entropy", "1.0", True, "FilterConsumerRules-reject_content_too_small"),
        Simulated("entropy", "1.0", False, ""),
        Simulated("other", "1", True, "FilterConsumerRules-reject_event_type"),
    ]
    assert simulate(event(), []) == []


def test_the_depth_is_that_of_no_task_also_for_those_that_take_tasks() -> None:
    for hops, out in ((11, ""), (12, "FilterTooDeep-too_deep")):
        deep = event(source={**SOURCE, "path": [NODE] * hops})
        said = simulate(deep, [consumer(is_task=True), consumer(model="status")])
        assert [one.filter_out_trigger for one in said] == [out, out]


def test_consumers_of_other_models_are_judged_by_the_rules_for_binary_events() -> None:
    (said,) = simulate(event(), [consumer(model="status", require_streams_map={"text": {}})])
    assert said.filter_out_trigger == "FilterConsumerRules-reject_stream"


def test_security_and_expressions_are_not_asked() -> None:
    marked = event(source={**SOURCE, "security": "HIGH"})
    (said,) = simulate(marked, [consumer(max_security="LOW", filter="nothing")])
    assert not said.filter_out
