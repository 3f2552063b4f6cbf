"""What the hub looks at in a stored event to decide who receives it; the rest of the event stays bytes.

A `Glance` is decoded once for all consumers. Of everything filters ask for, all but the sizes of content
streams is its `Shape`; the same few shapes come again and again, and equal ones are one object, so that a
consumer needs to judge each shape only once. Contract: dispatcher section 12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from pipeline import limits
from pipeline.errors import EventCorrupt
from pipeline.events.models import Model
from pipeline.events.names import CONTENT, CURRENT

Stream = tuple[str, str]
"""Label and file format of a stream."""


class Shape(msgspec.Struct, frozen=True, gc=False, eq=False):
    """What filters judge besides sizes. Equal shapes of one `Glances` are the same object.

    For a status these are its input's; what a model does not have is empty.
    """

    source: str
    security: str
    action: str
    author: str
    depth: int
    """Nodes of the source's path; 0 for all but binary events."""
    streams: tuple[Stream, ...]
    contents: tuple[int, ...]
    """Which of the streams are content."""


class Glance(msgspec.Struct, frozen=True, gc=False):
    """One stored event as the hub sees it."""

    shape: Shape
    sizes: tuple[int, ...]
    """Sizes in bytes of the streams, as `shape.streams` has them."""
    kafka_key: str
    sha256: str
    """The file of a binary event."""
    submitted: str
    """`source.timestamp` of a binary event or of a status's input, else empty."""
    dequeued: str
    current: bool
    """The stored bytes are what clients may receive: nothing is to be upgraded."""
    bypass_cache: bool
    expedite: bool


class Glances:
    """Decodes stored events as far as the hub looks; holds the shapes."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[object, ...], Shape] = {}

    def at(self, model: Model, value: bytes) -> Glance:
        """Look at one stored event.

        Raises:
            EventCorrupt: It does not decode into its model.
        """
        try:
            return self._LOOKS[model](self, value)
        except (ValueError, RecursionError) as error:
            raise EventCorrupt(f"read a stored {model} event", str(error)) from error

    def _binary(self, value: bytes) -> Glance:
        event = _BINARY.decode(value)
        source, streams = event.source, event.entity.datastreams
        shape = self._shape(
            source.name,
            source.security,
            event.action,
            event.author.name,
            len(source.path),
            tuple([(stream.label, stream.file_format) for stream in streams]),
        )
        return Glance(
            shape,
            tuple([stream.size for stream in streams]),
            event.kafka_key,
            event.entity.sha256,
            source.timestamp,
            event.dequeued,
            event.model_version == CURRENT,
            event.flags.bypass_cache,
            event.flags.expedite,
        )

    def _status(self, value: bytes) -> Glance:
        event = _STATUS.decode(value)
        task = event.entity.input
        shape = self._shape(task.source.name, "", task.action, task.author.name, 0, ())
        return self._plain(shape, event, submitted=task.source.timestamp)

    def _download(self, value: bytes) -> Glance:
        event = _DOWNLOAD.decode(value)
        return self._plain(self._shape("", event.source.security, "", "", 0, ()), event)

    def _other(self, value: bytes) -> Glance:
        return self._plain(self._shape("", "", "", "", 0, ()), _HEAD.decode(value))

    @staticmethod
    def _plain(shape: Shape, event: _Head, submitted: str = "") -> Glance:
        current = event.model_version == CURRENT
        return Glance(shape, (), event.kafka_key, "", submitted, "", current, False, False)

    def _shape(  # noqa: PLR0917 - the parts in the order of `Shape`
        self, source: str, security: str, action: str, author: str, depth: int, streams: tuple[Stream, ...]
    ) -> Shape:
        parts = (source, security, action, author, depth, streams)
        shape = self._shapes.get(parts)
        if shape is None:
            if len(self._shapes) >= limits.HUB_SHAPES_MAX:
                self._shapes.clear()
            contents = tuple(place for place, (label, _) in enumerate(streams) if label == CONTENT)
            self._shapes[parts] = shape = Shape(source, security, action, author, depth, streams, contents)
        return shape

    _LOOKS: Final[dict[Model, Callable[[Glances, bytes], Glance]]] = {
        "binary": _binary,
        "status": _status,
        "download": _download,
        "delete": _other,
        "insert": _other,
        "plugin": _other,
        "retrohunt": _other,
    }


class _Head(msgspec.Struct, frozen=True, gc=False):
    model_version: int = 0
    kafka_key: str = ""


class _Author(msgspec.Struct, frozen=True, gc=False):
    name: str = ""


class _Source(msgspec.Struct, frozen=True):
    name: str = ""
    security: str = ""
    timestamp: str = ""
    path: tuple[msgspec.Raw, ...] = ()


class _Stream(msgspec.Struct, frozen=True, gc=False):
    label: str = ""
    size: int = 0
    file_format: str = ""


class _Entity(msgspec.Struct, frozen=True):
    sha256: str = ""
    datastreams: tuple[_Stream, ...] = ()


class _Flags(msgspec.Struct, frozen=True, gc=False):
    bypass_cache: bool = False
    expedite: bool = False


class _Binary(_Head, frozen=True):
    author: _Author = _Author()
    source: _Source = _Source()
    entity: _Entity = _Entity()
    action: str = ""
    dequeued: str = ""
    flags: _Flags = _Flags()


class _StatusEntity(msgspec.Struct, frozen=True):
    input: _Binary = _Binary()


class _Status(_Head, frozen=True):
    entity: _StatusEntity = _StatusEntity()


class _Download(_Head, frozen=True):
    source: _Source = _Source()


_BINARY = msgspec.json.Decoder(_Binary)
_STATUS = msgspec.json.Decoder(_Status)
_DOWNLOAD = msgspec.json.Decoder(_Download)
_HEAD = msgspec.json.Decoder(_Head)
