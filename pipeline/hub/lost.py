"""One pass over the tasks in flight, by hand: what agent `track` does at each of its scan intervals.

A task counts as lost by the same rule: its deadline has passed, and every status that was there by then has
been taken in. What is appended are the agent's own notices; one for a deadline that was noticed already
changes nothing, so a pass may be made at any time, twice, and beside the agent's. Contract: metastore
section 9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice

from pipeline import limits
from pipeline.clock import Clock
from pipeline.errors import Unavailable
from pipeline.events.topics import system_topic
from pipeline.hub.changelogs import TRACK, app_id
from pipeline.hub.retries import lapsed_record
from pipeline.hub.tasks import Task
from pipeline.log.lag import Watermark
from pipeline.log.port import Log


def watermark(log: Log, prefix: str, clock: Clock) -> Watermark:
    """Make what tells up to when agent `track` has taken in what plugins said."""
    return Watermark(log, app_id(prefix, TRACK), system_topic(prefix, "status"), clock)


async def heard_until(log: Log, prefix: str, clock: Clock) -> float:
    """Wait until `track` has taken in every status there is now; return that time in unix seconds.

    Raises:
        NotFound: There is no status topic.
        Unavailable: The log does not answer, or the agent is behind and does not catch up.
    """
    heard, begun = watermark(log, prefix, clock), clock.unix()
    try:
        async with asyncio.timeout(limits.LOST_WAIT_SECONDS):
            while (until := await heard.advance()) < begun:  # noqa: ASYNC110 - the offsets are in the log
                await asyncio.sleep(limits.LOST_LOOK_SECONDS)
    except TimeoutError as error:
        why = f"agent track has not read all statuses within {limits.LOST_WAIT_SECONDS:g} s"
        raise Unavailable(
            "look for lost tasks", why, "let a worker with agent track catch up, then try again"
        ) from error
    return until


async def notice_lost(log: Log, prefix: str, tasks: Iterable[Task], until: float) -> int:
    """Append the notice for each task whose deadline passed by `until`; return how many, durable then."""
    overdue = iter(await asyncio.to_thread(_overdue, tasks, until))
    count = 0
    while some := list(islice(overdue, limits.LAPSES_AT_ONCE)):
        await log.append([lapsed_record(prefix, task, until) for task in some])
        count += len(some)
    return count


def _overdue(tasks: Iterable[Task], until: float) -> list[Task]:
    passed = [task for task in tasks if task.state != "held" and task.due <= until]
    return sorted(passed, key=lambda task: task.due)
