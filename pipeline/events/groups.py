"""Names of consumers and of their Kafka groups. Contract: dispatcher section 11.2.

Order of sources and actions matters. Filters beyond those named here do not change the key, so two requests
that differ only in them share one position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from pipeline.events.names import Model

Subscription = Literal["expedite", "live", "historic"]
LaneName = Literal["expedite", "retry", "live", "historic"]
"""A subscription, or what comes back to its consumer."""


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """Who reads what: the part of a fetch request that decides its position."""

    name: str
    version: str
    model: Model
    sources: Sequence[str] = ()
    actions: Sequence[str] = ()
    expedite: bool = False
    live: bool = False
    historic: bool = False
    debug: bool = False

    @property
    def key(self) -> str:
        """Its consumer key, such as ``entropy-1.0-binary-allsrc-sourced.extracted-ELH``."""
        parts = [self.name, self.version, self.model]
        if self.model == "binary":
            parts += [".".join(self.sources) or "allsrc", ".".join(self.actions) or "alltype"]
        flow = "E" if self.expedite and self.model == "binary" else ""
        flow += "L" if self.live else ""
        flow += "H" if self.historic else ""
        flow += "D" if self.debug else ""
        return "-".join([*parts, flow] if flow else parts)

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """What it reads, highest priority first."""
        wanted: tuple[tuple[Subscription, bool], ...] = (
            ("expedite", self.expedite and self.model == "binary"),
            ("live", self.live),
            ("historic", self.historic),
        )
        return tuple(name for name, is_wanted in wanted if is_wanted)


def group_name(prefix: str, consumer_key: str, lane: LaneName) -> str:
    """Name the Kafka consumer group of one subscription."""
    return f"{prefix}-azul-{consumer_key}-{lane}"
