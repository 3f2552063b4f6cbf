"""Tasks in flight: list them, and steer them by a word on the task topic."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from pipeline import limits
from pipeline.errors import NotFound
from pipeline.events.task import TaskEvent, TaskKind
from pipeline.hub.lost import heard_until, notice_lost
from pipeline.hub.retries import task_record
from pipeline.hub.tasks import State, Task
from pipeline.web.answers import answer
from pipeline.web.context import fresh_tables, parts_of
from pipeline.web.paging import cut
from pipeline.web.routes import Asked, Handler, Nothing, Route, asked


class TasksAsked(Asked, frozen=True):
    """The query of the list."""

    state: Annotated[State | None, Meta(description="Only tasks in this state.")] = None
    plugin: Annotated[str, Meta(max_length=1000, description="Only tasks of this plugin.")] = ""
    limit: Annotated[int, Meta(ge=1, le=limits.LIST_PAGE_MAX, description="At most so many.")] = 100
    after: Annotated[str, Meta(max_length=1000, description="The `next` of the page before.")] = ""


class TaskShown(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task in flight. Times are unix seconds."""

    id: str
    """Id of its present try."""
    task: str
    plugin: str
    version: str
    state: State
    attempt: int = msgspec.field(default_factory=int)
    """Tries before this one."""
    taken: float = msgspec.field(default_factory=float)
    heard: float = msgspec.field(default_factory=float)
    due: float = msgspec.field(default_factory=float)
    """When its state is looked at again; meaningless while held."""
    sha256: str = msgspec.field(default_factory=str)
    """The file it is about."""
    earlier: tuple[str, ...] = ()
    event: msgspec.Raw | None = None
    """The event it is about; left out in lists."""


class TaskPage(msgspec.Struct, frozen=True):
    """Some tasks, those due first before the others."""

    tasks: list[TaskShown]
    total: int
    next: str | None


class Steered(msgspec.Struct, frozen=True):
    """What a task was told. It obeys when agent `track` reads it, a moment later."""

    id: str
    told: TaskKind
    topic: str
    partition: int
    offset: int


class Processed(msgspec.Struct, frozen=True):
    """What a pass over the tasks in flight found. Agent `track` acts on it, a moment later."""

    lapsed: int
    """Tasks whose deadline has passed: they are retried, or parked after their last try."""
    until: float
    """Unix seconds; what plugins said by then was heard before any task was called lost."""


class _Entity(msgspec.Struct):
    sha256: str = ""


class _About(msgspec.Struct):
    entity: _Entity = msgspec.field(default_factory=_Entity)


def shown(task: Task, *, whole: bool) -> TaskShown:
    """Return a task as JSON holds it, with its event if it is to be whole."""
    about = msgspec.json.decode(task.event, type=_About)
    return TaskShown(
        task.dequeued,
        task.task,
        task.plugin,
        task.version,
        task.state,
        task.attempt,
        task.taken,
        task.heard,
        task.due,
        about.entity.sha256,
        task.earlier,
        task.event if whole else None,
    )


async def list_tasks(request: web.Request) -> web.Response:
    """Answer a page of tasks."""
    wanted = asked(request, TasksAsked)
    found = [
        task
        for task in await (await fresh_tables(request)).tasks()
        if wanted.state in {None, task.state} and wanted.plugin in {"", task.plugin}
    ]
    page = cut(found, lambda task: (task.due, task.dequeued), limit=wanted.limit, after=wanted.after)
    return answer(TaskPage([shown(task, whole=False) for task in page.items], page.total, page.next))


async def get_task(request: web.Request) -> web.Response:
    """Answer one task with its event."""
    asked(request, Nothing)
    return answer(shown(await _found(request), whole=True))


async def tell(request: web.Request, kind: TaskKind) -> Steered:
    """Tell the task named in the path one thing; durable when it returns.

    Raises:
        NotFound: It is not in flight.
        Unavailable: The log does not answer.
    """
    task, parts = await _found(request), parts_of(request)
    event = TaskEvent(
        kind=kind,
        dequeued=task.dequeued,
        task=task.task,
        plugin=task.plugin,
        version=task.version,
        timestamp=parts.clock.unix(),
    )
    [placed] = await parts.log.append([task_record(parts.settings.events.prefix, event)])
    return Steered(task.dequeued, kind, *placed)


def steering(kind: TaskKind) -> Handler:
    """Make the handler that tells a task one thing."""

    async def steer(request: web.Request) -> web.Response:
        asked(request, Nothing)
        return answer(await tell(request, kind), status=202)

    return steer


async def process_lost(request: web.Request) -> web.Response:
    """Look for tasks whose deadline has passed, now instead of at the next scan interval."""
    asked(request, Nothing)
    parts, prefix = parts_of(request), parts_of(request).settings.events.prefix
    until = await heard_until(parts.log, prefix, parts.clock)
    tasks = await (await fresh_tables(request)).tasks()
    return answer(Processed(await notice_lost(parts.log, prefix, tasks, until), until), status=202)


async def _found(request: web.Request) -> Task:
    name = request.match_info["task"]
    task = await (await fresh_tables(request)).task(name)
    if task is None:
        raise NotFound(
            f"find task {name[:200]!r}",
            "no task in flight has this id; it may be finished, or parked",
            "GET /api/tasks lists those in flight, GET /api/parked what was given up",
        )
    return task


_SHARED: dict[str, Any] = {"tag": "tasks", "errors": (400, 404, 503)}


def _steer_route(kind: TaskKind, summary: str) -> Route:
    return Route(
        methods=("POST",),
        path=f"/api/tasks/{{task}}/{kind}",
        handler=steering(kind),
        summary=summary,
        text="Answered when the word is durable on the task topic; agent `track` acts on it.",
        status=202,
        answer=Steered,
        **_SHARED,
    )


ROUTES = (
    Route(
        methods=("GET",),
        path="/api/tasks",
        handler=list_tasks,
        summary="List the tasks in flight",
        query=TasksAsked,
        answer=TaskPage,
        **_SHARED,
    ),
    Route(
        methods=("GET",),
        path="/api/tasks/{task}",
        handler=get_task,
        summary="One task with its event",
        answer=TaskShown,
        **_SHARED,
    ),
    Route(
        methods=("POST",),
        path="/api/tasks/process-lost",
        handler=process_lost,
        summary="Look for lost tasks now",
        text="What agent `track` does every `tasks.scan_interval_seconds`. Doing it again has no further "
        "effect. 503 when the agent has statuses to read and does not come to their end.",
        status=202,
        answer=Processed,
        **_SHARED,
    ),
    _steer_route("hold", "Hold a task: it is not given out until released"),
    _steer_route("release", "Release a held task: its turn is now"),
    _steer_route("requeue", "Give a task to its plugin again, without waiting for it to lapse"),
    _steer_route("hurry", "Offer a waiting task at once; one that is out at its plugin stays there"),
)
