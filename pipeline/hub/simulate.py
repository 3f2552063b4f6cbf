"""Which consumers would take an event, without giving it to any. Contract: dispatcher section 15."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pipeline.events.binary import BinaryEvent
from pipeline.events.codec import encode_as_posted
from pipeline.hub.fetch.filters import DEPTH_MAX, Filter
from pipeline.hub.fetch.glance import Glance, Glances
from pipeline.hub.wanted import Wanted


class Simulated(msgspec.Struct, frozen=True):
    """What one consumer would do with the event."""

    name: str
    version: str
    filter_out: bool
    filter_out_trigger: str
    """The count it would be removed under; empty when it would pass."""


def simulate(event: BinaryEvent, consumers: Iterable[Wanted]) -> list[Simulated]:
    """Judge a binary event for each consumer, in their order, whatever model it reads.

    Its depth is judged, with the limit of those that take no tasks, and the consumer's rules; neither
    security nor an expression is.
    """
    glance = Glances().at("binary", encode_as_posted(event))
    return [_simulated(glance, wanted) for wanted in consumers]


def _simulated(glance: Glance, wanted: Wanted) -> Simulated:
    rules = msgspec.structs.replace(wanted, model="binary", filter="")
    fault = Filter(rules, depth_max=DEPTH_MAX, can_read=lambda _held, _marking: True).judge(glance)
    return Simulated(wanted.name, wanted.version, fault is not None, fault or "")
