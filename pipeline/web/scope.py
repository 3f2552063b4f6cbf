"""Which topics of a log belong to this installation: a cluster may be shared with others."""

from __future__ import annotations

from pipeline.app import Parts
from pipeline.hub.changelogs import app_id


async def own_topics(parts: Parts) -> dict[str, int]:
    """Return the number of partitions of every topic that is ours, by name.

    Ours are those the settings ask for, and all under our prefix: topics of sources that were removed, and
    the changelogs of tables. Raises `Unavailable`.
    """
    prefix = parts.settings.events.prefix
    starts = (f"azul.{prefix}.", app_id(prefix, ""))
    planned = {spec.name for spec in parts.topics.specs}
    there = await parts.log.topics()
    return {name: count for name, count in there.items() if name in planned or name.startswith(starts)}
