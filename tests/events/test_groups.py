"""Names of consumers and their groups: positions are stored under them, so they never change."""

from __future__ import annotations

import pytest

from pipeline.events.groups import Consumer, group_name

EXAMPLES = [
    (
        Consumer(name="myplugin", version="0.1.0", model="status", live=True, historic=True),
        "myplugin-0.1.0-status-LH",
    ),
    (
        Consumer(
            name="myplugin",
            version="1.0.0",
            model="binary",
            sources=["tasking"],
            actions=["sourced", "extracted", "augmented"],
            expedite=True,
            live=True,
            historic=True,
        ),
        "myplugin-1.0.0-binary-tasking-sourced.extracted.augmented-ELH",
    ),
    (
        Consumer(name="myplugin", version="0.1.0", model="binary", expedite=True, live=True),
        "myplugin-0.1.0-binary-allsrc-alltype-EL",
    ),
    (
        Consumer(name="p", version="1", model="binary", historic=True, debug=True),
        "p-1-binary-allsrc-alltype-HD",
    ),
    (Consumer(name="p", version="1", model="plugin", expedite=True, live=True), "p-1-plugin-L"),
    (Consumer(name="p", version="1", model="plugin"), "p-1-plugin"),
]


@pytest.mark.parametrize(("consumer", "key"), EXAMPLES)
def test_the_key_is_that_of_the_contract(consumer: Consumer, key: str) -> None:
    assert consumer.key == key


def test_the_group_is_that_of_the_contract() -> None:
    consumer = Consumer(
        name="myplugin", version="0.1.0", model="binary", expedite=True, live=True, historic=True
    )
    assert consumer.subscriptions == ("expedite", "live", "historic")
    assert group_name("test01", consumer.key, "live") == (
        "test01-azul-myplugin-0.1.0-binary-allsrc-alltype-ELH-live"
    )


def test_the_order_of_sources_and_actions_matters() -> None:
    keys = {
        Consumer(name="p", version="1", model="binary", sources=order, live=True).key
        for order in (["a", "b"], ["b", "a"])
    }
    assert len(keys) == 2


def test_only_binary_events_are_expedited() -> None:
    assert Consumer(name="p", version="1", model="status", expedite=True, live=True).subscriptions == (
        "live",
    )
