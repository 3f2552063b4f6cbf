"""track: what was handed to plugins and is not finished is handed out again, to that plugin alone.

Reads: the task topic (what happened to each task, keyed so that all tries of one share a partition);
statuses, which it turns into task events under that key; what `agents.registers` reads, in the same app.
Writes: the table in_flight; retries for their plugin; at the end of a task's tries its final status and its
parked entry; a notice on the task topic for each deadline that passed.
Acknowledges: a batch when first what it caused is published and then its table changes are durable, so
that a crash between the two may repeat a retry and never forgets one.
"""

from __future__ import annotations

from functools import partial

import faust

from agents import registers
from pipeline import metrics, metrics_hub
from pipeline.app import Parts
from pipeline.errors import BadInput, Conflict
from pipeline.events.task import decode_task
from pipeline.events.topics import TASK, system_topic
from pipeline.hub.lost import notice_lost, watermark
from pipeline.hub.retries import (
    check_task,
    lost_records,
    retry_record,
    status_record,
)
from pipeline.hub.tasks import Task, advance, policy_of
from pipeline.log.transport.app import App
from pipeline.log.transport.batch import Batch
from pipeline.processing import park, patiently, poison, publish, readable
from tables import in_flight
from tables.in_flight import InFlight

NAME = "track"
STATUS = "status"
_TRACKING = {"started": "started", "errored": "errored", "exhausted": "lost"}
"""What happens to tasks as the dispatcher contract counts it (section 20)."""
_TRIES_COUNTED = 2
"""Tasks that end at this try or later are counted together."""


def topics(parts: Parts) -> list[str]:
    """Name the topics this agent reads."""
    prefix = parts.settings.events.prefix
    return [system_topic(prefix, TASK), system_topic(prefix, STATUS), *registers.topics(parts)]


def attach(app: App, parts: Parts) -> None:
    """Add the agents and tables to their Faust app."""
    prefix = parts.settings.events.prefix
    task_topic, status_topic = (app.source(system_topic(prefix, name)) for name in (TASK, STATUS))
    tasks = in_flight.attach(app)
    heard = watermark(parts.log, prefix, parts.clock)

    @app.agent(task_topic, name=f"{NAME}.tasks")
    async def follow_tasks(stream: faust.StreamT) -> None:
        tasks.discard()
        async for batch in stream.batches():
            await _advance(parts, tasks, batch)

    @app.timer(parts.settings.tasks.scan_interval_seconds)
    async def notice_lapses() -> None:
        # Not by the clock: after a standstill, what plugins said meanwhile is still to be read.
        until = await patiently(NAME, heard.advance)
        lost = tasks.due(until)
        told = await patiently(NAME, lambda: notice_lost(parts.log, prefix, lost, until))
        metrics.AGENT_SENT.labels(NAME).inc(told)

    @app.agent(status_topic, name=f"{NAME}.statuses")
    async def follow_statuses(stream: faust.StreamT) -> None:
        async for batch in stream.batches():
            told = await readable(parts, NAME, batch.records, partial(status_record, prefix))
            await publish(parts, NAME, [record for _, record in told if record is not None])
            batch.acknowledge()

    registers.attach(app, parts)


async def _advance(parts: Parts, tasks: InFlight, batch: Batch) -> None:
    """Apply the task events of a batch: publish what they cause, then write the table."""
    prefix, policy = parts.settings.events.prefix, policy_of(parts.settings.tasks)
    out, put_aside = [], []
    for record, event in await readable(parts, NAME, batch.records, lambda r: decode_task(r.value or b"")):
        change = advance(tasks, event, policy, offset=record.offset)
        try:
            if change.put is not None and event.event is not None:
                check_task(prefix, change.put)
        except BadInput as error:
            put_aside.append(poison(record, error))
            continue
        ended = tasks.find(event.dequeued) if event.kind == "finished" else None
        tasks.stage(change)
        if change.offer is not None:
            out.append(retry_record(prefix, change.offer))
        if change.lost is not None:
            status, task = lost_records(prefix, change, record, parts.clock)
            out += [status] if status is not None else []
            put_aside.append(task)
        for what in change.counted:
            metrics.TASK_EVENTS.labels(what).inc()
            _count_as_tracking(what, ended)
    await publish(parts, NAME, out)
    await park(parts, NAME, put_aside)
    try:
        tasks.write(batch.partition)
    except Conflict:
        tasks.discard()  # the partition has moved: its records come again where it is now
        return
    await tasks.flushed()
    metrics.TASKS.set(len(tasks))
    metrics_hub.TRACKED.labels("lost-tasks").set(len(tasks))
    batch.acknowledge()


def _count_as_tracking(what: str, task: Task | None) -> None:
    """Count what happened to a task under the dispatcher's names as well."""
    if what == "finished":
        what = f"finished-{min(task.attempt if task else 0, _TRIES_COUNTED)}"
    else:
        what = _TRACKING.get(what, "")
    if what:
        metrics_hub.TRACKING.labels(what).inc()
