"""The life of a task: what one event about it changes, as a pure function.

A task is a binary event handed to a plugin; handed to it twice, it is one task with two tries. It is
*running* until its final status; when it was not heard of for the lapse time it is *waiting* for its
back-off, then *offered* to the same plugin again, and after the last try *parked*; a person may *hold* it
meanwhile. Contract: dispatcher section 13, metastore section 9. `agents.track` applies `advance` to every
record of the task topic in order, so the outcome depends on the records alone, and applying a record twice
changes nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec
from msgspec.structs import replace

from pipeline import limits
from pipeline.events.names import ERRORS
from pipeline.events.task import TaskEvent, TaskKind
from pipeline.settings import TaskSettings

State = Literal["running", "waiting", "offered", "held"]
Counted = Literal[
    "started", "heard", "finished", "errored", "lost", "retried", "exhausted", "held", "released"
]
"""What happens to tasks, as it is counted: a lost task that is retried at once is lost and retried."""


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
    """Ids of the tries before, oldest first; a final status for any of them ends the task. At most
    `limits.TASK_TRIES_REMEMBERED`: the oldest are forgotten first."""


class Policy(msgspec.Struct, frozen=True):
    """How patient we are with plugins."""

    lapse_seconds: float
    retries: int
    backoff_seconds: tuple[float, ...]
    offer_seconds: float
    retry_statuses: frozenset[str] = frozenset()
    """Final statuses that count as a loss: the task goes back to its plugin."""

    def backoff(self, attempt: int) -> float:
        """Give the pause before the retry that follows try number `attempt` (0 is the first)."""
        return self.backoff_seconds[min(attempt, len(self.backoff_seconds) - 1)]


def policy_of(settings: TaskSettings) -> Policy:
    """Take the policy from the settings."""
    return Policy(
        settings.lapse_seconds,
        settings.retries,
        settings.backoff_seconds,
        settings.offer_seconds,
        frozenset(settings.retry_statuses),
    )


class Change(msgspec.Struct, frozen=True):
    """What a task event does. Everything to publish is published before the table is written."""

    put: Task | None = None
    remove: str | None = None
    offer: Task | None = None
    """Publish as a retry to its plugin."""
    lost: Task | None = None
    """Park it, and publish the final status of a lost task unless it is `answered`."""
    answered: bool = False
    """Its plugin gave it a final status, which stands."""
    reason: str = ""
    counted: tuple[Counted, ...] = ()
    """What to count it as."""


NOTHING = Change()


class Tasks(Protocol):
    """The tasks in flight, as looked up by what an event names."""

    def find(self, dequeued: str) -> Task | None:
        """Return the task one of whose tries has this id."""

    def of_key(self, task: str, consumer_key: str) -> Task | None:
        """Return the entry of a consumer's task by the key all its tries share; never are there two.

        Consumers of one plugin that differ in what they read have tasks of their own.
        """


def advance(tasks: Tasks, event: TaskEvent, policy: Policy, *, offset: int) -> Change:
    """Say what `event` changes.

    Args:
        tasks: Those in flight.
        event: The next record of the task topic.
        policy: Time limits and number of retries.
        offset: The record's place in its partition, which all tries of a task share.
    """
    if event.kind == "dequeued":
        return _start(tasks, event, policy, offset)
    task = tasks.find(event.dequeued)
    if task is None:
        return _revive(tasks, event, policy, offset) if event.kind == "requeue" else NOTHING
    if task.offset >= offset:
        return NOTHING
    return _STEPS[event.kind](replace(task, offset=offset), event, policy)


def _start(tasks: Tasks, event: TaskEvent, policy: Policy, offset: int) -> Change:
    """Note a try; where the task is in flight already, it is the newest try of the same entry.

    Only a retry, which names the try before, counts attempts: the same event handed out twice (to a
    consumer that reads live and historic, or again after a crash of `api`) was not lost in between.
    """
    if event.event is None or tasks.find(event.dequeued) is not None:
        return NOTHING
    before = tasks.of_key(event.task, event.consumer_key or "")
    if before is not None and before.offset >= offset:
        return NOTHING
    earlier = _joined((event.previous or "",), (*before.earlier, before.dequeued) if before else ())
    started = _task(
        event,
        state="held" if before is not None and before.state == "held" else "running",
        attempt=max(event.attempt, before.attempt) if before else event.attempt,
        due=event.timestamp + policy.lapse_seconds,
        offset=offset,
        earlier=earlier,
    )
    return Change(put=started, remove=before.dequeued if before else None, counted=("started",))


def _revive(tasks: Tasks, event: TaskEvent, policy: Policy, offset: int) -> Change:
    """Take a parked task back: it waits for its turn with all its tries before it.

    When it was handed out anew meanwhile, the turn of that entry is now, and the parked try is one of it.
    """
    if event.event is None:
        return NOTHING
    present = tasks.of_key(event.task, event.consumer_key or "")
    if present is None:
        revived = _task(event, state="waiting", attempt=-1, due=event.timestamp, offset=offset)
        return Change(put=revived, counted=("released",))
    if present.offset >= offset:
        return NOTHING
    joined = replace(present, offset=offset, earlier=_joined((event.dequeued,), present.earlier))
    return replace(_requeue(joined, event, policy), remove=present.dequeued)


def _task(
    event: TaskEvent, *, state: State, attempt: int, due: float, offset: int, earlier: tuple[str, ...] = ()
) -> Task:
    assert event.event is not None, "without its event nobody can be given a task"  # noqa: S101 - a bug
    return Task(
        dequeued=event.dequeued,
        task=event.task,
        plugin=event.plugin,
        version=event.version,
        state=state,
        attempt=attempt,
        taken=event.timestamp,
        heard=event.timestamp,
        due=due,
        event=event.event,
        offset=offset,
        consumer_key=event.consumer_key or "",
        earlier=earlier,
    )


def _joined(older: tuple[str, ...], newer: tuple[str, ...]) -> tuple[str, ...]:
    """Put ids together, each once, oldest first; of too many the newest are kept."""
    distinct = [name for name in older if name and name not in newer]
    return (*distinct, *newer)[-limits.TASK_TRIES_REMEMBERED :]


def _finish(task: Task, event: TaskEvent, policy: Policy) -> Change:
    """End a task, unless its status is one that is retried: that is a loss of the try it is about.

    Such a status for another than the running try changes nothing: it was retried already.
    """
    if event.status in policy.retry_statuses:
        if task.state != "running" or event.dequeued != task.dequeued:
            return NOTHING
        said = f"said {event.status} on try {task.attempt + 1}"
        lost = _lose(task, event.timestamp, policy, reason=said, answered=True)
        return replace(lost, counted=("errored", *lost.counted))
    counted: tuple[Counted, ...] = ("finished", "errored") if event.status in ERRORS else ("finished",)
    return Change(remove=task.dequeued, counted=counted)


def _hold(task: Task, event: TaskEvent, policy: Policy) -> Change:
    del event, policy
    return NOTHING if task.state == "held" else Change(put=replace(task, state="held"), counted=("held",))


def _release(task: Task, event: TaskEvent, policy: Policy) -> Change:
    return _requeue(task, event, policy) if task.state == "held" else NOTHING


def _requeue(task: Task, event: TaskEvent, policy: Policy) -> Change:
    """Its turn is now, whatever it was waiting for."""
    del policy
    return Change(put=replace(task, state="waiting", due=event.timestamp), counted=("released",))


def _hurry(task: Task, event: TaskEvent, policy: Policy) -> Change:
    """End the wait of a lost task: it is offered at once. One that is out at its plugin stays there."""
    if task.state != "waiting":
        return NOTHING
    return _offer(task, event.timestamp, policy, "released", "retried")


def _extend(task: Task, event: TaskEvent, policy: Policy) -> Change:
    if task.state != "running":
        return NOTHING
    heard = max(task.heard, event.timestamp)
    extended = replace(task, heard=heard, due=heard + policy.lapse_seconds)
    return Change(put=extended, counted=("heard",))


def _lapse(task: Task, event: TaskEvent, policy: Policy) -> Change:
    """Move a task on whose time has come; a lapse noticed for an earlier deadline counts no more."""
    if task.state == "held" or event.deadline is None or task.due > event.deadline:
        return NOTHING
    if task.state == "running":
        return _lose(task, event.timestamp, policy, reason=f"lost {task.attempt + 1} times")
    if task.state == "waiting":
        return _offer(task, event.timestamp, policy, "retried")
    reason = f"no instance of {task.plugin} {task.version} came for its retry"
    return Change(remove=task.dequeued, lost=task, reason=reason, counted=("exhausted",))


def _lose(task: Task, now: float, policy: Policy, *, reason: str, answered: bool = False) -> Change:
    """Give up a try: the next one comes after its back-off, or there is none left."""
    if task.attempt >= policy.retries:
        return Change(
            remove=task.dequeued,
            lost=task,
            answered=answered,
            reason=reason,
            counted=("lost", "exhausted"),
        )
    pause = policy.backoff(task.attempt)
    if pause > 0:
        return Change(put=replace(task, state="waiting", due=now + pause), counted=("lost",))
    return _offer(task, now, policy, "lost", "retried")


def _offer(task: Task, now: float, policy: Policy, *counted: Counted) -> Change:
    offered = replace(task, state="offered", due=now + policy.offer_seconds)
    return Change(put=offered, offer=offered, counted=counted)


_STEPS: dict[TaskKind, Callable[[Task, TaskEvent, Policy], Change]] = {
    "finished": _finish,
    "heartbeat": _extend,
    "lapsed": _lapse,
    "hold": _hold,
    "release": _release,
    "requeue": _requeue,
    "hurry": _hurry,
}
