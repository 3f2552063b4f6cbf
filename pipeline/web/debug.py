"""What a process is doing, for whoever looks after it, under the paths people know from Go.

``goroutine``: every task of the event loop; ``threadcreate``: every thread; ``profile``: where the time of
all threads goes, sampled, one collapsed stack a line as flame graph tools read them; ``heap``: how many
objects of which type live. Contract: dispatcher section 20.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Annotated

from aiohttp import web
from msgspec import Meta

from pipeline import limits
from pipeline.errors import NotFound
from pipeline.web.routes import Asked, Nothing, Route, asked


class ProfileAsked(Asked, frozen=True):
    """The query of a profile."""

    seconds: Annotated[
        float,
        Meta(gt=0, le=limits.PROFILE_MAX_SECONDS, description="How long to look; for `profile` alone."),
    ] = 5.0


async def get_profile(request: web.Request) -> web.Response:
    """Answer one view of the process as text."""
    seconds = asked(request, ProfileAsked).seconds
    item = request.match_info["item"]
    view = _VIEWS.get(item)
    if view is None:
        known = ", ".join(sorted(_VIEWS))
        raise NotFound(
            f"look at {item[:40]!r} of this process", "there is no such view", f"there are: {known}"
        )
    return web.Response(text=await view(seconds))


async def get_index(request: web.Request) -> web.Response:
    """Answer the names of the views."""
    asked(request, Nothing)
    return web.Response(text="".join(f"{name}\n" for name in sorted(_VIEWS)))


async def _command_line(_: float) -> str:
    return "\0".join(sys.orig_argv)


async def _tasks(_: float) -> str:
    lines = []
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        lines.append(f"{task.get_name()}: {task.get_coro()}\n")
        lines += [f"    {_place(frame)}\n" for frame in task.get_stack(limit=limits.PROFILE_DEPTH)]
    return "".join(lines)


async def _threads(_: float) -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - the documented way to other threads
        stack = traceback.extract_stack(frame, limit=limits.PROFILE_DEPTH)
        lines.append(f"{names.get(ident, ident)}\n")
        lines += [f"    {each.name} ({each.filename}:{each.lineno})\n" for each in stack]
    return "".join(lines)


async def _heap(_: float) -> str:
    return await asyncio.to_thread(_objects)


def _objects() -> str:
    counts = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    return "".join(f"{count:>9} {name}\n" for name, count in counts.most_common(limits.PROFILE_ROWS))


async def _profile(seconds: float) -> str:
    return await asyncio.to_thread(_sampled, seconds)


def _sampled(seconds: float) -> str:
    """Look at the stacks of all other threads until the time is over. Blocks."""
    stacks: Counter[str] = Counter()
    own = threading.get_ident()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for ident, frame in sys._current_frames().items():  # noqa: SLF001
            if ident != own:
                stacks[_collapsed(frame)] += 1
        time.sleep(limits.PROFILE_STEP_SECONDS)
    return "".join(f"{stack} {count}\n" for stack, count in stacks.most_common())


def _collapsed(frame: FrameType | None) -> str:
    names: list[str] = []
    while frame is not None and len(names) < limits.PROFILE_DEPTH:
        code = frame.f_code
        names.append(f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]})")
        frame = frame.f_back
    return ";".join(reversed(names))


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"


_VIEWS: dict[str, Callable[[float], Awaitable[str]]] = {
    "cmdline": _command_line,
    "goroutine": _tasks,
    "threadcreate": _threads,
    "heap": _heap,
    "allocs": _heap,
    "profile": _profile,
}

ROUTES = (
    Route(
        methods=("GET",),
        path="/debug/pprof/",
        handler=get_index,
        summary="What can be seen of this process",
        tag="status",
        media="text/plain",
    ),
    Route(
        methods=("GET",),
        path="/debug/pprof/{item}",
        handler=get_profile,
        summary="Tasks, threads, a profile or the objects of this process",
        tag="status",
        query=ProfileAsked,
        media="text/plain",
        errors=(400, 404),
        streams=True,
    ),
)
