"""All event models under one roof; the structs themselves live in one file a noun."""

from __future__ import annotations

from typing import Final, TypeAlias

from pipeline.errors import NotFound
from pipeline.events.binary import BinaryEntity, BinaryEvent, BinaryFlags
from pipeline.events.delete import (
    DeleteAuthor,
    DeleteEntity,
    DeleteEvent,
    DeleteIds,
    DeleteLink,
    DeleteSubmission,
)
from pipeline.events.download import DownloadEntity, DownloadEvent
from pipeline.events.insert import InsertEntity, InsertEvent
from pipeline.events.names import ACTIONS, LABELS, MODELS, Model
from pipeline.events.parts import Author, Datastream, Feature, PathNode, Source
from pipeline.events.plugin import PluginEntity, PluginEvent, PluginFeature
from pipeline.events.retrohunt import RetrohuntEvent, RetrohuntSource
from pipeline.events.status import StatusEntity, StatusEvent

Event: TypeAlias = (
    BinaryEvent | DeleteEvent | DownloadEvent | InsertEvent | PluginEvent | StatusEvent | RetrohuntEvent
)

STRUCTS: Final[dict[Model, type[Event]]] = {
    "binary": BinaryEvent,
    "delete": DeleteEvent,
    "download": DownloadEvent,
    "insert": InsertEvent,
    "plugin": PluginEvent,
    "status": StatusEvent,
    "retrohunt": RetrohuntEvent,
}
_NAMES: Final[dict[type[Event], Model]] = {struct: name for name, struct in STRUCTS.items()}


def model_named(name: str) -> Model:
    """Return the model of that name.

    Raises:
        NotFound: There is none.
    """
    for model in MODELS:
        if model == name:
            return model
    raise NotFound(f"find the event model {name[:64]!r}", "", f"it is one of {', '.join(MODELS)}")


def model_of(event: Event) -> Model:
    """Return the name of an event's model."""
    return _NAMES[type(event)]


__all__ = [
    "ACTIONS",
    "LABELS",
    "MODELS",
    "STRUCTS",
    "Author",
    "BinaryEntity",
    "BinaryEvent",
    "BinaryFlags",
    "Datastream",
    "DeleteAuthor",
    "DeleteEntity",
    "DeleteEvent",
    "DeleteIds",
    "DeleteLink",
    "DeleteSubmission",
    "DownloadEntity",
    "DownloadEvent",
    "Event",
    "Feature",
    "InsertEntity",
    "InsertEvent",
    "Model",
    "PathNode",
    "PluginEntity",
    "PluginEvent",
    "PluginFeature",
    "RetrohuntEvent",
    "RetrohuntSource",
    "Source",
    "StatusEntity",
    "StatusEvent",
    "model_named",
    "model_of",
]
