"""parked: records and tasks put aside, with the reason.

Key: the id of the parked entry. Value: `pipeline.events.parked.ParkedEntry`. Written by agent `track` from
the parked topic; an entry ends when it was replayed.
"""

from __future__ import annotations

from pipeline.events.parked import ParkedEntry
from pipeline.log.transport.app import App
from tables.typed import TypedTable

NAME = "parked"


def attach(app: App) -> TypedTable[ParkedEntry]:
    """Make the table in its app."""
    return TypedTable(app, NAME, ParkedEntry)
