"""The life of a task: what one event about it changes, as a pure function.

A task is a binary event handed to a plugin. It is *running* until its final status; when it was not heard
of for the lapse time it is *waiting* for its back-off, then *offered* to the same plugin again, and after
the last try *parked*; a person may *hold* it meanwhile. Contract: dispatcher section 13, metastore
section 9. `agents.track` applies `advance` to every record of the task topic in order, so the outcome
depends on the records alone, and applying a record twice changes nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec.structs import replace

from pipeline.events.task import TaskEvent, TaskKind
from pipeline.settings import TaskSettings

State = Literal["running", "waiting", "offered", "held"]


class Task(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task in flight, the value of table `in_flight`. Times are unix seconds."""

    dequeued: str
    """Id of the present try; the key of the table."""
    task: str
    plugin: str
    version: str
    state: State
    attempt: int
    """Tries before this one."""
    taken: float
    heard: float
    due: float
    """When its state is looked at again; meaningless while held."""
    event: msgspec.Raw
    """The event as it was handed out."""
    offset: int
    """Of the last record that changed it; what comes again after a crash is told by it."""
    consumer_key: str = ""
    earlier: tuple[str, ...] = ()
    """Ids of the tries before, oldest first; a final status for any of them ends the task."""


class Policy(msgspec.Struct, frozen=True):
    """How patient we are with plugins."""

    lapse_seconds: float
    retries: int
    backoff_seconds: tuple[float, ...]
    offer_seconds: float

    def backoff(self, attempt: int) -> float:
        """Give the pause before the retry that follows try number `attempt` (0 is the first)."""
        return self.backoff_seconds[min(attempt, len(self.backoff_seconds) - 1)]


def policy_of(settings: TaskSettings) -> Policy:
    """Take the policy from the settings."""
    return Policy(
        settings.lapse_seconds, settings.retries, settings.backoff_seconds, settings.offer_seconds
    )


class Change(msgspec.Struct, frozen=True):
    """What a task event does. Everything to publish is published before the table is written."""

    put: Task | None = None
    remove: str | None = None
    offer: Task | None = None
    """Publish as a retry to its plugin."""
    lost: Task | None = None
    """Publish the final status of a lost task and park it."""
    reason: str = ""
    counted: str = ""
    """What to count it as: started, heard, finished, lost, retried, exhausted, held, released."""


NOTHING = Change()
Find = Callable[[str], Task | None]


def advance(find: Find, event: TaskEvent, policy: Policy, *, offset: int) -> Change:
    """Say what `event` changes.

    Args:
        find: Gives the task by the id of any of its tries, None when there is none in flight.
        event: The next record of the task topic.
        policy: Time limits and number of retries.
        offset: The record's place in its partition, which all tries of a task share.
    """
    if event.kind == "dequeued":
        return _start(find, event, policy, offset)
    task = find(event.dequeued)
    if task is None:
        return _revive(event, offset) if event.kind == "requeue" else NOTHING
    if task.offset >= offset:
        return NOTHING
    return _STEPS[event.kind](replace(task, offset=offset), event, policy)


def _start(find: Find, event: TaskEvent, policy: Policy, offset: int) -> Change:
    if event.event is None or find(event.dequeued) is not None:
        return NOTHING
    previous = event.previous
    before = find(previous) if previous else None
    earlier = (*before.earlier, before.dequeued) if before else (previous,) if previous else ()
    started = Task(
        dequeued=event.dequeued,
        task=event.task,
        plugin=event.plugin,
        version=event.version,
        state="running",
        attempt=event.attempt,
        taken=event.timestamp,
        heard=event.timestamp,
        due=event.timestamp + policy.lapse_seconds,
        event=event.event,
        offset=offset,
        consumer_key=event.consumer_key or "",
        earlier=earlier,
    )
    return Change(put=started, remove=before.dequeued if before else None, counted="started")


def _revive(event: TaskEvent, offset: int) -> Change:
    """Take a parked task back: it waits for its turn with all its tries before it."""
    if event.event is None:
        return NOTHING
    revived = Task(
        dequeued=event.dequeued,
        task=event.task,
        plugin=event.plugin,
        version=event.version,
        state="waiting",
        attempt=-1,
        taken=event.timestamp,
        heard=event.timestamp,
        due=event.timestamp,
        event=event.event,
        offset=offset,
        consumer_key=event.consumer_key or "",
    )
    return Change(put=revived, counted="released")


def _finish(task: Task, event: TaskEvent, policy: Policy) -> Change:
    del event, policy
    return Change(remove=task.dequeued, counted="finished")


def _hold(task: Task, event: TaskEvent, policy: Policy) -> Change:
    del event, policy
    return NOTHING if task.state == "held" else Change(put=replace(task, state="held"), counted="held")


def _release(task: Task, event: TaskEvent, policy: Policy) -> Change:
    return _requeue(task, event, policy) if task.state == "held" else NOTHING


def _requeue(task: Task, event: TaskEvent, policy: Policy) -> Change:
    """Its turn is now, whatever it was waiting for."""
    del policy
    return Change(put=replace(task, state="waiting", due=event.timestamp), counted="released")


def _extend(task: Task, event: TaskEvent, policy: Policy) -> Change:
    if task.state != "running":
        return NOTHING
    heard = max(task.heard, event.timestamp)
    extended = replace(task, heard=heard, due=heard + policy.lapse_seconds)
    return Change(put=extended, counted="heard")


def _lapse(task: Task, event: TaskEvent, policy: Policy) -> Change:
    """Move a task on whose time has come; a lapse noticed for an earlier deadline counts no more."""
    if task.state == "held" or event.deadline is None or task.due > event.deadline:
        return NOTHING
    if task.state == "offered":
        reason = f"no instance of {task.plugin} {task.version} came for its retry"
        return Change(remove=task.dequeued, lost=task, reason=reason, counted="exhausted")
    if task.state == "running":
        if task.attempt >= policy.retries:
            reason = f"lost {task.attempt + 1} times"
            return Change(remove=task.dequeued, lost=task, reason=reason, counted="exhausted")
        pause = policy.backoff(task.attempt)
        if pause > 0:
            due = event.timestamp + pause
            waiting = replace(task, state="waiting", due=due)
            return Change(put=waiting, counted="lost")
    due = event.timestamp + policy.offer_seconds
    offered = replace(task, state="offered", due=due)
    return Change(put=offered, offer=offered, counted="retried")


_STEPS: dict[TaskKind, Callable[[Task, TaskEvent, Policy], Change]] = {
    "finished": _finish,
    "heartbeat": _extend,
    "lapsed": _lapse,
    "hold": _hold,
    "release": _release,
    "requeue": _requeue,
}
