"""Pages of plugins: who is behind, what is out, what is parked; with a button for each thing to be done.

Buttons are plain forms and work without script. What a form posts is done first, durably, and then the
browser is sent back to the page it came from, which says so: loading that again does nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from aiohttp import web
from msgspec import Meta

from pipeline import limits
from pipeline.errors import NotFound
from pipeline.events.parked import ParkedEntry
from pipeline.hub.standing import belongs, lost_by
from pipeline.hub.tasks import State, Task
from pipeline.web import consumers, hurry, parked, pause, tasks
from pipeline.web.consumers import ConsumersAsked
from pipeline.web.context import fresh_tables, parts_of
from pipeline.web.html import MEDIA, explained, render
from pipeline.web.paging import cut
from pipeline.web.routes import Asked, Nothing, Route, asked

Done = Literal["", "pause", "resume", "hold", "release", "requeue", "hurry", "replay"]
Mark = Annotated[str, Meta(max_length=4096, description="The mark of the page before.")]
_ROWS = 50
_WORDS: tuple[Literal["hold", "release", "requeue", "hurry"], ...] = ("hold", "release", "requeue", "hurry")


class PluginsAsked(ConsumersAsked, frozen=True):
    """The query of the page of plugins."""

    done: Annotated[Done, Meta(description="What was just done.")] = ""


class SteeringAsked(Asked, frozen=True):
    """The query of a page of tasks and parked entries."""

    state: Annotated[State | Literal[""], Meta(description="Only tasks in this state.")] = ""
    tasks_after: Mark = ""
    parked_after: Mark = ""
    done: Annotated[Done, Meta(description="What was just done.")] = ""
    about: Annotated[str, Meta(max_length=4096, description="To which task or entry.")] = ""


class FormAsked(Asked, frozen=True):
    """The query of what a form posts to."""

    consumer: Annotated[
        str, Meta(max_length=limits.CONSUMER_KEY_MAX_BYTES, description="On whose page the button was.")
    ] = ""


async def plugins(request: web.Request) -> web.Response:
    """Show the consumers with their lag, and whether plugins are paused."""
    wanted = asked(request, PluginsAsked)
    return render(
        "plugins.html",
        page=await consumers.page_of(request, wanted),
        wanted=wanted,
        pause=await pause.pause_of(request),
        now=parts_of(request).clock.unix(),
    )


async def plugin(request: web.Request) -> web.Response:
    """Show one consumer with its tasks and what is parked of its plugin."""
    wanted = asked(request, SteeringAsked)
    registered = await consumers.found(request)
    [shown] = await consumers.standing_of(request, [registered])
    lost = f"{registered.wanted.name}.{registered.wanted.version}"
    steered = await _steered(
        request, wanted, lambda task: belongs(task, registered), lambda entry: lost_by(entry) == lost
    )
    return render("plugin.html", consumer=shown, pause=await pause.pause_of(request), **steered)


async def all_tasks(request: web.Request) -> web.Response:
    """Show every task in flight, and everything parked."""
    steered = await _steered(request, asked(request, SteeringAsked), lambda _: True, lambda _: True)
    return render("tasks.html", consumer=None, **steered)


async def _steered(
    request: web.Request,
    wanted: SteeringAsked,
    is_task: Callable[[Task], bool],
    is_entry: Callable[[ParkedEntry], bool],
) -> dict[str, Any]:
    """Give what the tables of tasks and entries show."""
    tables = await fresh_tables(request)
    mine = [one for one in await tables.tasks() if wanted.state in {"", one.state} and is_task(one)]
    put_aside = [one for one in await tables.parked() if one.state == "parked" and is_entry(one)]
    page = cut(mine, lambda one: (one.due, one.dequeued), limit=_ROWS, after=wanted.tasks_after)
    return {
        "wanted": wanted,
        "tasks": [tasks.shown(one, whole=False) for one in page.items],
        "tasks_total": page.total,
        "tasks_next": page.next,
        "parked": cut(
            put_aside, lambda one: (-one.parked_at, one.id), limit=_ROWS, after=wanted.parked_after
        ),
        "now": parts_of(request).clock.unix(),
    }


async def post_pause(request: web.Request) -> web.Response:
    """Pause plugins and go back."""
    asked(request, FormAsked)
    await pause.pause(request)
    return _back("/plugins", done="pause")


async def post_resume(request: web.Request) -> web.Response:
    """End the pause and go back."""
    asked(request, FormAsked)
    await pause.resume(request)
    return _back("/plugins", done="resume")


async def post_word(request: web.Request) -> web.Response:
    """Tell a task something and go back."""
    consumer = asked(request, FormAsked).consumer
    word = next((one for one in _WORDS if one == request.match_info["word"]), None)
    if word is None:
        raise NotFound("steer a task", "there is no such word", f"it is one of {', '.join(_WORDS)}")
    told = await tasks.tell(request, word)
    return _back(_place(consumer), done=word, about=told.id)


async def post_replay(request: web.Request) -> web.Response:
    """Put a parked record back and go back."""
    consumer = asked(request, FormAsked).consumer
    replayed = await parked.put_back(request)
    return _back(_place(consumer), done="replay", about=replayed.id)


async def post_hurry(request: web.Request) -> web.Response:
    """Send a file through again and go back to its page."""
    asked(request, Nothing)
    hurried = await hurry.hurry(request)
    return _back(f"/objects/{hurried.sha256}", done="hurry")


def _place(consumer: str) -> str:
    """Return the page a button was on: never an address from the request, only a key in one of ours."""
    return f"/plugins/{quote(consumer, safe='')}" if consumer else "/tasks"


def _back(path: str, **query: str) -> web.Response:
    return web.Response(status=303, headers={"Location": f"{path}?{urlencode(query)}"})


_PAGE: dict[str, Any] = {"methods": ("GET",), "tag": "pages", "media": MEDIA}
_FORM: dict[str, Any] = {
    "methods": ("POST",),
    "tag": "pages",
    "media": "",
    "status": 303,
    "text": "For the buttons of the pages; the browser is sent back to the page.",
}

ROUTES = (
    Route(
        path="/plugins",
        handler=explained(plugins),
        summary="The page of plugins: who is behind, and the pause",
        query=PluginsAsked,
        errors=(400, 503),
        **_PAGE,
    ),
    Route(
        path="/plugins/{consumer}",
        handler=explained(plugin),
        summary="The page of one plugin with its tasks",
        query=SteeringAsked,
        errors=(400, 404, 503),
        **_PAGE,
    ),
    Route(
        path="/tasks",
        handler=explained(all_tasks),
        summary="The page of all tasks, and of everything parked",
        query=SteeringAsked,
        errors=(400, 503),
        **_PAGE,
    ),
    Route(
        path="/plugins/pause",
        handler=explained(post_pause),
        summary="Pause plugins from their page",
        query=FormAsked,
        errors=(400, 403, 503),
        **_FORM,
    ),
    Route(
        path="/plugins/resume",
        handler=explained(post_resume),
        summary="End the pause from the page",
        query=FormAsked,
        errors=(400, 403, 503),
        **_FORM,
    ),
    Route(
        path="/tasks/{task}/{word}",
        handler=explained(post_word),
        summary="Steer a task from its page",
        query=FormAsked,
        errors=(400, 403, 404, 503),
        **_FORM,
    ),
    Route(
        path="/parked/{entry}/replay",
        handler=explained(post_replay),
        summary="Put a parked record back from its page",
        query=FormAsked,
        errors=(400, 403, 404, 503),
        **_FORM,
    ),
    Route(
        path="/objects/{sha256}/hurry",
        handler=explained(post_hurry),
        summary="Send a file through again from its page",
        errors=(400, 403, 404, 409, 503),
        **_FORM,
    ),
)
