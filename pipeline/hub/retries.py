"""What tasks put on the log: the retry for their plugin; at the end their status and their parked record.

Contract: dispatcher section 13, metastore section 9.
"""

from __future__ import annotations

from msgspec.structs import replace

from pipeline.clock import Clock
from pipeline.errors import EventCorrupt
from pipeline.events import times
from pipeline.events.codec import decode_stored, encode
from pipeline.events.ids import task_key
from pipeline.events.models import Author, BinaryEvent, PluginEvent, StatusEntity, StatusEvent
from pipeline.events.names import CURRENT, ERROR_NETWORK, HEARTBEAT, IN_PROGRESS
from pipeline.events.records import record_of
from pipeline.events.task import TaskEvent
from pipeline.events.topics import ERROR, TASK, system_topic
from pipeline.hub.tasks import Change, Task
from pipeline.log.port import NewRecord, Record
from pipeline.log.record_size import check_size
from pipeline.processing import Poison

PLUGIN_HEADER = "headrace-plugin"
VERSION_HEADER = "headrace-version"
CONSUMER_HEADER = "headrace-consumer"
LOST_TASK = "LostTask"
"""Reason under which a task is parked."""


def task_record(prefix: str, event: TaskEvent) -> NewRecord:
    """Make the record of a task event."""
    return NewRecord(system_topic(prefix, TASK), event.task.encode(), event.encode())


def retry_record(prefix: str, task: Task) -> NewRecord:
    """Make the retry: the same event for that plugin alone, with its try counted.

    The headers say whose it is; `dequeued` in the event is the try before.
    """
    event = _event(task)
    flags = replace(event.flags, retry=True)
    again = replace(event, dequeued=task.dequeued, retries=task.attempt + 1, flags=flags)
    headers = (
        (PLUGIN_HEADER, task.plugin.encode()),
        (VERSION_HEADER, task.version.encode()),
        (CONSUMER_HEADER, task.consumer_key.encode()),
    )
    return NewRecord(system_topic(prefix, ERROR), task.task.encode(), encode(again), headers)


def check_task(prefix: str, task: Task) -> None:
    """Accept a task that can be given back to its plugin when it is lost.

    Raises:
        EventError: What it holds is no binary event.
        TooLarge: Its retry or its final status would be above a limit.
    """
    check_size(retry_record(prefix, task))
    encode(_lost_status(task, "1970-01-01T00:00:00.000000Z"))


def lost_records(
    prefix: str, change: Change, lapsed: Record, clock: Clock
) -> tuple[NewRecord | None, Poison]:
    """Make the end of a task nobody will try again by itself: its final status and what is parked of it.

    The status is authored by the plugin that lost it; there is none when the plugin gave one itself. What
    is parked is the task event that takes the task back, so that replaying the entry does. `lapsed` is the
    record that brought the end; it names the entry.
    """
    task = change.lost
    assert task is not None, "only a lost task has an end"  # noqa: S101 - a bug of the caller
    status = None
    if not change.answered:
        status = record_of(prefix, _lost_status(task, times.text_of(clock.now())))
    back = _requeue_record(prefix, task, clock.unix())
    parked = replace(lapsed, key=back.key, value=back.value, headers=back.headers)
    error = f"{_lost_error(task.dequeued)}: {task.plugin} {task.version} {change.reason}"
    return status, Poison(parked, LOST_TASK, error)


def _lost_status(task: Task, timestamp: str) -> StatusEvent:
    entity = StatusEntity(
        input=replace(_event(task), dequeued=task.dequeued),
        status=ERROR_NETWORK,
        error=_lost_error(task.dequeued),
    )
    author = Author(name=task.plugin, version=task.version, category="plugin")
    return StatusEvent(model_version=CURRENT, timestamp=timestamp, author=author, entity=entity)


def _lost_error(dequeued: str) -> str:
    return f"lost task: {dequeued}"


def _requeue_record(prefix: str, task: Task, now_unix: float) -> NewRecord:
    event = TaskEvent(
        kind="requeue",
        dequeued=task.dequeued,
        task=task.task,
        timestamp=now_unix,
        plugin=task.plugin,
        version=task.version,
        consumer_key=task.consumer_key or None,
        event=task.event,
    )
    return task_record(prefix, event)


def lapsed_record(prefix: str, task: Task, now_unix: float) -> NewRecord:
    """Make the notice that a task's deadline has passed."""
    event = TaskEvent(
        kind="lapsed", dequeued=task.dequeued, task=task.task, timestamp=now_unix, deadline=task.due
    )
    return task_record(prefix, event)


def status_record(prefix: str, record: Record) -> NewRecord | None:
    """Make the task event a stored status stands for, under the key all tries of the task share.

    Its time is the log's, not the plugin's, whose clock may be off.

    None when it names no task, or says only that the task was handed out, or is the one `lost_records` gave
    a task that has ended: read late, it must not end the task somebody took back meanwhile. A status for a
    task that was never in flight is harmless: the event finds nothing.

    Raises:
        EventError: It is not a status event.
    """
    status = decode_stored("status", record.value)
    if status is None:
        return None
    entity = status.entity
    dequeued = entity.input.dequeued
    if not dequeued or (entity.status in IN_PROGRESS and entity.status != HEARTBEAT):
        return None
    if entity.status == ERROR_NETWORK and entity.error == _lost_error(dequeued):
        return None
    event = TaskEvent(
        kind="heartbeat" if entity.status == HEARTBEAT else "finished",
        dequeued=dequeued,
        task=task_key(dequeued),
        timestamp=record.timestamp_ms / 1000,
        status=entity.status,
    )
    return task_record(prefix, event)


def plugin_of(value: bytes | None) -> PluginEvent:
    """Read a stored registration.

    Raises:
        EventError: It is not a plugin event.
    """
    plugin = decode_stored("plugin", value)
    if not isinstance(plugin, PluginEvent):
        raise EventCorrupt("read a plugin's registration", "it is empty")
    return plugin


def _event(task: Task) -> BinaryEvent:
    event = decode_stored("binary", bytes(task.event))
    if event is None:
        raise EventCorrupt(f"read the event of task {task.dequeued}", "it is empty")
    return event
