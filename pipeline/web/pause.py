"""The pause of plugins: what it means now, and how it begins and ends. Contract: dispatcher section 14."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import msgspec
from aiohttp import web

from pipeline import limits
from pipeline.hub.notices import Notices
from pipeline.web.answers import answer
from pipeline.web.context import notices_of, parts_of
from pipeline.web.routes import Nothing, Route, asked


class Pause(msgspec.Struct, frozen=True):
    """Whether plugins are paused. Times are unix seconds."""

    state: Literal["none", "paused", "skipping"]
    """`skipping` after a pause: tasks are handed out, but history is passed over."""
    since: float | None
    until: float | None
    """When tasks are handed out again."""
    skips_until: float | None
    """Until when consumers of tasks that come back begin at the end of everything."""
    effect: str
    """What that means, in words."""


async def pause_of(request: web.Request) -> Pause:
    """Tell what is durable of the pause now. Raises `Unavailable`."""
    notices = notices_of(request)
    await notices.refresh()
    return described(notices, parts_of(request).clock.unix())


def described(notices: Notices, now_unix: float) -> Pause:
    """Tell the pause as it is at a time."""
    since = notices.paused_unix
    until, skips_until = since + limits.HUB_PAUSED_SECONDS, since + limits.HUB_SKIPPING_SECONDS
    if now_unix >= skips_until:
        return Pause("none", None, None, None, "Tasks are handed out.")
    skipped = (
        f"Until {_time(skips_until)} a consumer of tasks that comes back begins at the end of everything, "
        "once; resuming before it comes back keeps its place."
    )
    if now_unix >= until:
        return Pause("skipping", since, until, skips_until, f"Tasks are handed out. {skipped}")
    effect = f"No tasks are handed out until {_time(until)}; consumers of events go on. {skipped}"
    return Pause("paused", since, until, skips_until, effect)


def _time(unix_seconds: float) -> str:
    return dt.datetime.fromtimestamp(unix_seconds, dt.UTC).strftime("%H:%M:%SZ")


async def pause(request: web.Request) -> Pause:
    """Pause plugins from now on; within a minute of the last time nothing changes. Raises `Unavailable`."""
    await notices_of(request).refresh()
    await notices_of(request).pause()
    return await pause_of(request)


async def resume(request: web.Request) -> Pause:
    """End the pause; durable when it returns. Raises `Unavailable`."""
    await notices_of(request).refresh()
    await notices_of(request).resume()
    return await pause_of(request)


async def get_pause(request: web.Request) -> web.Response:
    """Answer whether plugins are paused."""
    asked(request, Nothing)
    return answer(await pause_of(request))


async def post_pause(request: web.Request) -> web.Response:
    """Pause plugins."""
    asked(request, Nothing)
    return answer(await pause(request))


async def post_resume(request: web.Request) -> web.Response:
    """End the pause."""
    asked(request, Nothing)
    return answer(await resume(request))


_SHARED: dict[str, Any] = {"tag": "consumers", "answer": Pause, "errors": (400, 503)}

ROUTES = (
    Route(
        methods=("GET",),
        path="/api/pause",
        handler=get_pause,
        summary="Whether plugins are paused, and what that means",
        **_SHARED,
    ),
    Route(
        methods=("POST",),
        path="/api/pause",
        handler=post_pause,
        summary="Hand out no tasks for ten minutes",
        text="As a publish with `pause_plugins` does. Said again it begins anew, once a minute at most. "
        "Consumers of events go on. Consumers of tasks that come back between ten and thirty minutes after "
        "it begin at the end of everything.",
        **_SHARED,
    ),
    Route(
        methods=("POST",),
        path="/api/resume",
        handler=post_resume,
        summary="End the pause: plugins go on where they were",
        text="Also ends the time after a pause in which consumers begin at the end of everything.",
        **_SHARED,
    ),
)
