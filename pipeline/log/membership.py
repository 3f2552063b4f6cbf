"""Counting what happens to the consumer groups this process is in (dispatcher contract, section 20)."""

from __future__ import annotations

from pipeline import metrics_hub


def count_rebalance(group: str) -> None:
    """Count that a group was divided anew and gave this process its part."""
    metrics_hub.REBALANCES.labels(_name(group), group).inc()


def count_restart(group: str, error: Exception) -> None:
    """Count that a member starts again because of an error, by Kafka's number of it or its name."""
    code = getattr(error, "errno", None) if type(error).__module__.startswith("aiokafka") else None
    metrics_hub.RESTARTS.labels(_name(group), group, code or type(error).__name__).inc()


def _name(group: str) -> str:
    """Return who the group is for: groups of ours are ``<prefix>-headrace-<name>``."""
    return group.rpartition("-headrace-")[2]
