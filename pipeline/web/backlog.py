"""How far each agent is behind, and whether it has come to a stand.

An agent's lag is what its consumer group has not finished on the topics it has ever committed to. It is
stalled when there is something to read and its commits have not moved for `limits.AGENT_STALL_SECONDS`;
looking is what notices, so the readiness probe is what keeps this up to date.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pipeline import limits
from pipeline.app import Parts
from pipeline.archive_source import group_of
from pipeline.hub.changelogs import app_id
from pipeline.log.lag import lag
from pipeline.log.port import TopicPartition
from pipeline.web.scope import own_topics


class AgentLag(msgspec.Struct, frozen=True):
    """Where one agent stands."""

    agent: str
    group: str
    """Its consumer group."""
    lag: int | None
    """Records not finished; None when it never finished any."""
    stalled: bool
    topics: dict[str, int]
    """Records not finished, by topic; topics without any are left out."""


class Backlog:
    """Looks at the agents' groups, and remembers since when each has stood still.

    Args:
        parts: Whose agents.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._still: dict[str, tuple[int, float]] = {}

    async def agents(self) -> list[AgentLag]:
        """Look at every agent. Raises `Unavailable` when the log does not answer."""
        counts = await own_topics(self._parts)
        return [await self._agent(name, counts) for name in self._parts.settings.worker.agents]

    async def _agent(self, agent: str, counts: Mapping[str, int]) -> AgentLag:
        settings = self._parts.settings
        group = group_of(settings) if agent == "archive" else app_id(settings.events.prefix, agent)
        committed = await self._parts.log.committed(group, _places(counts))
        topics = {place.topic for place in committed}
        behind = await lag(self._parts.log, group, _places({topic: counts[topic] for topic in topics}))
        total = sum(behind.values())
        by_topic = dict.fromkeys(sorted(topics), 0)
        for place, records in behind.items():
            by_topic[place.topic] += records
        return AgentLag(
            agent,
            group,
            total if committed else None,
            self._stands_still(agent, total, sum(committed.values())),
            {topic: records for topic, records in by_topic.items() if records},
        )

    def _stands_still(self, agent: str, lag: int, position: int) -> bool:
        now = self._parts.clock.monotonic()
        if not lag:
            self._still.pop(agent, None)
            return False
        seen, since = self._still.get(agent, (-1, now))
        if seen != position:
            self._still[agent] = (position, now)
            return False
        return now - since >= limits.AGENT_STALL_SECONDS


def _places(counts: Mapping[str, int]) -> list[TopicPartition]:
    return [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
