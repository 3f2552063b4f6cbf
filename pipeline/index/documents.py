"""From events to the documents people search. Contract: metastore section 3."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.events.binary import BinaryEvent
from pipeline.events.download import DownloadEvent
from pipeline.events.models import Event
from pipeline.events.plugin import PluginEvent
from pipeline.events.sources import SourceDefinition
from pipeline.events.status import StatusEvent
from pipeline.index.document_binary import binary_documents
from pipeline.index.document_plugin import plugin_document
from pipeline.index.document_status import download_document, status_document
from pipeline.index.port import Document


def documents_of(
    event: Event, *, sources: Mapping[str, SourceDefinition], default_security: str
) -> list[Document]:
    """Return the documents of an event; events of models that are not indexed have none.

    The same event always gives the same documents with the same ids and versions, so putting them again
    changes nothing. The version is the event's time: of several events with one id the newest stays.

    Raises:
        EventInvalid: The event can have no document; trying again will not help.
        EventCorrupt: A time in it is none.
    """
    match event:
        case BinaryEvent():
            return binary_documents(event, sources, default_security)
        case StatusEvent():
            return [status_document(event, default_security)]
        case DownloadEvent():
            return [download_document(event, default_security)]
        case PluginEvent():
            return [plugin_document(event, default_security)]
        case _:
            return []
