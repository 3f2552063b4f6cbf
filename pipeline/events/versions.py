"""Model versions: what is current, what is refused, what is upgraded.

One number for all models. History: 4 the first; 5 added `source.settings` (empty when absent); 6 removed
``file_format_legacy`` from path nodes, entities and streams. What clients post must be current; what is
stored is upgraded on reading. Contract: dispatcher section 6.
"""

from __future__ import annotations

from typing import TypeVar, cast

from msgspec.structs import replace

from pipeline.errors import EventInvalid, EventOutdated
from pipeline.events.models import Event
from pipeline.events.names import CURRENT
from pipeline.events.status import StatusEvent

OLDEST_STORED = 4

E = TypeVar("E", bound=Event)


def check_posted(version: int) -> None:
    """Accept the version of a posted event.

    Raises:
        EventOutdated: It is too old, or missing, which is 0.
        EventInvalid: It is newer than this program.
    """
    if version == CURRENT:
        return
    if version < CURRENT:
        raise EventOutdated(
            "decode posted events",
            "ensure events were in json format: event message version was too old "
            f"({version}, current is {CURRENT})",
            "upgrade the client",
        )
    raise _newer("decode posted events", version)


def upgraded(event: E) -> E:
    """Return a stored event with the current version number, also on a status's input and results.

    The shape needs no change: the decoder fills what version 5 added and drops what 6 removed.

    Raises:
        EventOutdated: Older than anything ever stored.
        EventInvalid: Newer than this program.
    """
    if event.model_version != CURRENT:
        if event.model_version < OLDEST_STORED:
            why = f"its model version is {event.model_version}, the oldest known is {OLDEST_STORED}"
            raise EventOutdated("read a stored event", why, "it was not written by a dispatcher")
        if event.model_version > CURRENT:
            raise _newer("read a stored event", event.model_version)
        event = replace(event, model_version=CURRENT)
    return cast(E, _upgraded_inside(event)) if isinstance(event, StatusEvent) else event


def _upgraded_inside(event: StatusEvent) -> StatusEvent:
    entity = event.entity
    if entity.input.model_version == CURRENT and not entity.results:
        return event
    task = replace(entity.input, model_version=CURRENT)
    results = tuple(replace(result, model_version=CURRENT) for result in entity.results)
    return replace(event, entity=replace(entity, input=task, results=results))


def _newer(tried: str, version: int) -> EventInvalid:
    why = f"its model version is {version}, this program knows up to {CURRENT}"
    return EventInvalid(tried, why, "upgrade this program, or post version 6")
