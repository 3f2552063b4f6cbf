"""in_flight: the tasks handed to plugins and not finished.

Key: the dequeued id of a task's present try. Value: `pipeline.hub.tasks.Task`. Written by agent `track`
only, from the task topic, which is keyed so that all tries of a task share a partition. An entry ends by
the task's final status, or by being lost for the last time.

Beside the table stand three things derived from it, rebuilt after recovery: which try an older id belongs
to, the one entry of each task key, and a heap of deadlines, so that no timer ever scans the table.
"""

from __future__ import annotations

import heapq

from pipeline.hub.tasks import Change, Task
from pipeline.log.transport.app import App
from tables.typed import TypedTable

NAME = "in_flight"


def attach(app: App) -> InFlight:
    """Make the table in its app; what is derived from it follows every recovery."""
    tasks = InFlight(TypedTable(app, NAME, Task))

    async def recovered() -> None:
        tasks.rebuild()

    tasks.stored.on_recover(recovered)
    return tasks


class InFlight:
    """The table with its derived parts and the changes of one batch that are not written yet."""

    def __init__(self, stored: TypedTable[Task]) -> None:
        self.stored = stored
        self._staged: dict[str, Task | None] = {}
        self._present: dict[str, str] = {}
        self._by_key: dict[tuple[str, str], str] = {}
        self._deadlines: list[tuple[float, str]] = []

    def find(self, dequeued: str) -> Task | None:
        """Return the task one of whose tries has this id, as the staged changes leave it."""
        return self._one(self._present.get(dequeued, dequeued))

    def of_key(self, task: str, consumer_key: str) -> Task | None:
        """Return the entry of a consumer's task by the key all its tries share, as `find` sees it."""
        dequeued = self._by_key.get((task, consumer_key))
        return None if dequeued is None else self._one(dequeued)

    def stage(self, change: Change) -> None:
        """Note a change; `find` sees it at once, the table at `write`."""
        if change.remove is not None:
            self._forget(change.remove)
        if change.put is not None:
            self._staged[change.put.dequeued] = change.put
            self._note(change.put)

    def write(self, partition: int) -> None:
        """Write the staged changes to the table; call once what they cause has been published.

        Raises:
            Conflict: The partition was lost meanwhile; `discard` what was staged.
        """
        for dequeued, task in self._staged.items():
            if task is None:
                self.stored.remove(dequeued, partition=partition)
            else:
                self.stored.put(dequeued, task, partition=partition)
        self._staged.clear()

    async def flushed(self) -> None:
        """Return when everything written so far is durable."""
        await self.stored.flushed()

    def discard(self) -> None:
        """Forget what is staged; the records that caused it come again."""
        self._staged.clear()
        self.rebuild()

    def rebuild(self) -> None:
        """Derive everything anew from the table, after recovery or a change of partitions."""
        self._present.clear()
        self._by_key.clear()
        self._deadlines.clear()
        for task in self.stored.records():
            self._note(task)

    def due(self, now: float) -> list[Task]:
        """Take the tasks whose deadline has passed off the heap, earliest first."""
        passed = []
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, dequeued = heapq.heappop(self._deadlines)
            task = self._one(dequeued)
            if task is not None and task.state != "held" and task.due <= deadline:
                passed.append(task)
        return passed

    def __len__(self) -> int:
        return len(self.stored)

    def _one(self, dequeued: str) -> Task | None:
        if dequeued in self._staged:
            return self._staged[dequeued]
        return self.stored.get(dequeued)

    def _note(self, task: Task) -> None:
        heapq.heappush(self._deadlines, (task.due, task.dequeued))
        self._by_key[task.task, task.consumer_key] = task.dequeued
        for earlier in task.earlier:
            self._present[earlier] = task.dequeued

    def _forget(self, dequeued: str) -> None:
        task = self._one(dequeued)
        self._staged[dequeued] = None
        if task is None:
            return
        key = task.task, task.consumer_key
        if self._by_key.get(key) == dequeued:
            del self._by_key[key]
        for earlier in task.earlier:
            self._present.pop(earlier, None)
