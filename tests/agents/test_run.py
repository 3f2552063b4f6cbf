"""Agents as they run in a process: watched, and seen from outside."""

from __future__ import annotations

from pathlib import Path

from pipeline import metrics
from pipeline.events.topics import TASK, system_topic
from pipeline.hub.changelogs import app_id
from tests.agents.installation import installation, settings_in, settled, until
from tests.agents.standin import Standin


async def test_the_lag_of_every_agent_is_a_metric_while_it_runs(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, ["track"])
    async with installation(settings) as (parts, agents):
        await Standin(parts, "p").take(["0" * 32])
        await settled(agents)
        prefix = settings.events.prefix
        labels = {"group": app_id(prefix, "track"), "topic": system_topic(prefix, TASK), "partition": "0"}

        async def seen() -> bool:
            return metrics.REGISTRY.get_sample_value("headrace_log_lag_records", labels) == 0

        await until(seen)
        stalled = {"group": app_id(prefix, "track")}
        assert metrics.REGISTRY.get_sample_value("headrace_agent_stalled", stalled) == 0
