"""What a consumer asked for in a fetch, and the form in which that is remembered.

Two requests with one `Consumer.key` share a position whatever else they ask for, so what is judged is a
matter of each request (`Wanted.rules`), not of the position. Contract: dispatcher sections 10, 23.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import msgspec

from pipeline.errors import Damaged
from pipeline.events.groups import Consumer
from pipeline.events.names import Model

_LOOKED_UP = ("require_sources", "require_events", "deny_events")
"""Lists that the stored form repeats as a map, as its readers look values up there."""
_OMITTED_EMPTY = ("deployment_key", "filter")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A fetch request in typed form; the names are those of the stored registration."""

    name: str
    version: str
    model: Model
    user_agent: str = ""
    avro: bool = False
    """Answer the events as an Avro bulk."""
    debug: bool = False
    reset: bool = False
    """Drop the position first."""
    deployment_key: str = ""
    count: int = 1
    deadline: int = 0
    """Longest wait in seconds; 0 is none."""
    is_task: bool = False
    require_sources: tuple[str, ...] = ()
    require_events: tuple[str, ...] = ()
    """Wanted actions; sourced and extracted when content is required."""
    require_content: bool = False
    require_streams_map: Mapping[str, Mapping[str, bool]] = {}
    """Wanted starts of file formats by label (`*`: all other labels); none means any format."""
    require_under_content_size: int = 0
    """Content is at most so many bytes; 0 is no limit."""
    require_over_content_size: int = 0
    """Content is at least so many bytes."""
    require_expedite: bool = False
    require_live: bool = False
    require_historic: bool = False
    deny_events: tuple[str, ...] = ()
    deny_self: bool = False
    max_security: str = ""
    filter: str = ""
    """An expression over the stored event (`pipeline.hub.expression`)."""

    @property
    def consumer(self) -> Consumer:
        """Whose position it reads on from."""
        return Consumer(
            name=self.name,
            version=self.version,
            model=self.model,
            sources=self.require_sources,
            actions=self.require_events,
            expedite=self.require_expedite,
            live=self.require_live,
            historic=self.require_historic,
            debug=self.debug,
        )

    @property
    def rules(self) -> Hashable:
        """Equal for requests that judge every event alike, so that they may share a `Filter`."""
        streams = {label: frozenset(starts) for label, starts in self.require_streams_map.items()}
        return (
            self.model,
            self.name if self.deny_self else "",
            self.is_task,
            frozenset(self.require_sources),
            frozenset(self.require_events),
            self.require_content,
            frozenset(streams.items()),
            self.require_under_content_size,
            self.require_over_content_size,
            frozenset(self.deny_events),
            self.max_security,
            self.filter,
        )

    def encode(self) -> bytes:
        """Give the JSON that is stored for it."""
        stored = msgspec.structs.asdict(self)
        for name in _LOOKED_UP:
            stored[f"{name}_map"] = dict.fromkeys(stored[name], True)
        for name in _OMITTED_EMPTY:
            if not stored[name]:
                del stored[name]
        return msgspec.json.encode(stored)


def decode_wanted(stored: bytes) -> Wanted:
    """Read what `Wanted.encode` gave.

    Raises:
        Damaged: It is something else.
    """
    try:
        return _DECODER.decode(stored)
    except ValueError as error:
        raise Damaged("read a stored registration", str(error)) from error


_DECODER = msgspec.json.Decoder(Wanted)
