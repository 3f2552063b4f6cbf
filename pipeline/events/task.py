"""TaskEvent: what happened to a task, on topic ``system.task``. Ours, not part of the contract.

A task is one binary event for one plugin and version. Each try has its own dequeued id; records are keyed
by the task key (the id without its time), so all tries of a task share a partition and keep their order.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pipeline.errors import EventCorrupt

TaskKind = Literal["dequeued", "heartbeat", "finished", "lapsed", "hold", "release", "requeue", "hurry"]


class TaskEvent(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Something that happened to a task. Times are unix seconds.

    The kinds: `dequeued` a plugin is about to get it; `heartbeat` the plugin is at work; `finished` a final
    status came; `lapsed` its deadline passed; `hold`, `release`, `requeue`, `hurry` a person steered it.
    """

    kind: TaskKind
    dequeued: str
    """Id of the try this is about."""
    task: str
    """`pipeline.events.ids.task_key` of it; the key of the record."""
    timestamp: float
    plugin: str = ""
    version: str = ""
    consumer_key: str | None = None
    attempt: int = 0
    """Tries before this one."""
    previous: str | None = None
    """Id of the try before this one."""
    status: str | None = None
    """The final status, for `finished`."""
    deadline: float | None = None
    """The deadline that passed, for `lapsed`."""
    event: msgspec.Raw | None = None
    """The whole binary event as JSON, for `dequeued`."""

    def encode(self) -> bytes:
        """Return the value of its record."""
        return msgspec.json.encode(self)


class _Stored(TaskEvent, frozen=True, omit_defaults=True, kw_only=True):
    """A task event as msgspec can decode it: it takes ``Raw | None`` for null alone."""

    event: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # type: ignore[assignment]


_DECODER = msgspec.json.Decoder(_Stored)
_FIELDS = tuple(name for name in TaskEvent.__struct_fields__ if name != "event")


def decode_task(value: bytes) -> TaskEvent:
    """Read the value of a record of the task topic; msgspec alone cannot decode a `TaskEvent`.

    Raises:
        EventCorrupt: It is not one.
    """
    try:
        stored = _DECODER.decode(value)
    except (ValueError, RecursionError) as error:
        raise EventCorrupt("read a task event", str(error)) from error
    event = None if isinstance(stored.event, msgspec.UnsetType) else stored.event
    return TaskEvent(event=event, **{name: getattr(stored, name) for name in _FIELDS})
