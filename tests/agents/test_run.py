"""Agents as they run in a process: watched, and seen from outside."""

from __future__ import annotations

import socket
from pathlib import Path

from agents.run import running
from pipeline import metrics
from pipeline.app import make_parts, open_parts
from pipeline.events.topics import TASK, system_topic
from pipeline.hub.changelogs import app_id
from pipeline.submission import submit
from tests.agents.installation import installation, settings_in, settled, until
from tests.agents.standin import Standin
from tests.holdings import published


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


async def test_a_taken_address_of_the_statistics_pages_stops_no_work(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, ["enrich", "index"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with (
            open_parts(make_parts(settings)) as parts,
            running(parts, statistics=address) as agents,
        ):
            await submit(parts, b"a file", source_name="testing")
            await settled(agents)
            assert await published(parts, "testing", "enriched") == 1
