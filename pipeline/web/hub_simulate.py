"""Which consumers would take an event, asked before it is published. Contract: dispatcher section 15."""

from __future__ import annotations

from typing import cast

import msgspec
from aiohttp import web

from pipeline import limits
from pipeline.errors import EventError
from pipeline.events.binary import BinaryEvent
from pipeline.events.codec import decode_posted
from pipeline.hub.simulate import Simulated, simulate
from pipeline.web import bodies
from pipeline.web.answers import answer
from pipeline.web.context import notices_of
from pipeline.web.hub_problems import HubProblem, Refused
from pipeline.web.routes import Nothing, Route

_FAILED = "Failed to simulate event"


class Simulation(msgspec.Struct, frozen=True):
    """What each consumer would do, one entry a consumer key."""

    consumers: list[Simulated]


async def simulate_event(request: web.Request) -> web.Response:
    """Judge one binary event for every consumer that asked for something in the last day."""
    body = await bodies.whole(request, limits.PUBLISH_MAX_BYTES)
    try:
        posted = decode_posted("binary", body)
    except EventError as error:
        raise Refused(500, _FAILED, error.why) from error
    if posted.failures or len(posted.events) != 1:
        faults = "; ".join(failure.error for failure in posted.failures)
        raise Refused(500, _FAILED, faults or f"there are {len(posted.events)} events, one is wanted")
    notices = notices_of(request)
    await notices.ready()
    event = cast(BinaryEvent, posted.events[0])
    return answer(Simulation(simulate(event, [each.wanted for each in notices.consumers()])))


ROUTES = (
    Route(
        methods=("POST",),
        path="/api/v2/event/simulate",
        handler=simulate_event,
        summary="Say which consumers would take an event",
        tag="hub",
        query=Nothing,
        body=("application/json",),
        answer=Simulation,
        problem=HubProblem,
        errors=(500,),
    ),
)
