"""The table of tasks in flight, with a million entries: rate, memory, and how long until it is back.

    python -m benchmarks.tasks [--tasks N]

`dequeued` events of N tasks, about 1 KiB each, stand on the task topic of an embedded log. Agent `track`,
in a process of its own, takes them into its table; then it is started again and reads the table back from
its changelog. The bare figure is reading and decoding the same task events.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from agents.run import running
from benchmarks.events import make_event
from pipeline.app import make_parts, open_parts
from pipeline.events.task import TaskEvent, decode_task
from pipeline.events.topics import TASK, system_topic
from pipeline.hub.retries import task_record
from pipeline.log.port import NewRecord, TopicPartition
from pipeline.settings import Settings, load

_EVENT_BYTES = 1024
_BATCH = 2000


def settings_in(folder: str) -> Settings:
    """Make settings for an embedded installation in which only agent `track` runs."""
    overrides: dict[str, Any] = {"data": folder, "worker": {"agents": ["track"], "stats_listen": ""}}
    return load(overrides, environment={"XDG_CONFIG_HOME": folder}).settings


def dequeued(number: int, now: float) -> TaskEvent:
    """Make the event of one task."""
    task = f"{uuid.UUID(int=number).hex}.plugin.1.0"
    event = msgspec.Raw(make_event(_EVENT_BYTES))
    return TaskEvent(
        kind="dequeued",
        dequeued=f"{task}.{int(now)}",
        task=task,
        timestamp=now,
        plugin="plugin",
        version="1.0",
        consumer_key="plugin-1.0-binary-allsrc-alltype-ELH",
        event=event,
    )


async def fill(folder: str, count: int) -> None:
    """Put the task events on the log."""
    settings = settings_in(folder)
    async with open_parts(make_parts(settings)) as parts:
        now = parts.clock.unix()
        for first in range(0, count, _BATCH):
            numbers = range(first, min(first + _BATCH, count))
            await parts.log.append([task_record(settings.events.prefix, dequeued(n, now)) for n in numbers])


async def bare(folder: str, count: int) -> float:
    """Return events a second of reading and decoding them."""
    settings = settings_in(folder)
    async with open_parts(make_parts(settings)) as parts:
        reader = parts.log.reader({TopicPartition(system_topic(settings.events.prefix, TASK), 0): 0})
        started, left = time.perf_counter(), count
        while left:
            records = await reader.read(max_records=1000, wait_seconds=5)
            for record in records:
                decode_task(record.value or b"")
            left -= len(records)
        await reader.close()
        return count / (time.perf_counter() - started)


async def track(folder: str) -> None:
    """Run agent `track` until it has nothing left; print seconds and memory. One heartbeat more ends it."""
    settings = settings_in(folder)
    async with open_parts(make_parts(settings)) as parts:
        started = time.perf_counter()
        topic = system_topic(settings.events.prefix, TASK)
        beat = TaskEvent(kind="heartbeat", dequeued="none", task="none", timestamp=parts.clock.unix())
        await parts.log.append([NewRecord(topic, b"none", beat.encode())])
        async with running(parts) as agents:
            while await agents.backlog():  # noqa: ASYNC110 - the state is on the log
                await asyncio.sleep(0.05)
            seconds = time.perf_counter() - started
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])  # noqa: ASYNC240
        print(json.dumps({"seconds": seconds, "memory": pages * os.sysconf("SC_PAGE_SIZE")}))


def run_track(folder: str) -> dict[str, float]:
    """Run agent `track` in a process of its own; return what it printed."""
    command = [sys.executable, "-m", "benchmarks.tasks", "--track", folder]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--track", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.track:
        uvloop.run(track(given.track))
        return
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(fill(folder, given.tasks))
        reference = uvloop.run(bare(folder, given.tasks))
        taken, back = run_track(folder), run_track(folder)
        for name, run in (("taken in", taken), ("read back", back)):
            rate, row = (
                given.tasks / run["seconds"],
                f"{given.tasks:,} tasks {name} in {run['seconds']:.1f} s",
            )
            print(f"{row:<42} {rate:>9,.0f}/s   bare {reference:>9,.0f}/s   {rate / reference:.2f}")
            mib, each = run["memory"] / 2**20, run["memory"] / given.tasks
            print(f"{'  memory then':<42} {mib:>9,.0f} MiB, {each:,.0f} bytes a task")


if __name__ == "__main__":
    main()
