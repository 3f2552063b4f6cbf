"""plugins: who has registered.

Key: ``<name>.<version>``. Value: the latest plugin event of that name and version. Written by agent
`track` from the plugin topic; entries stay until the plugin registers a new version and a person removes
the old one.
"""

from __future__ import annotations

from pipeline.events.models import PluginEvent
from pipeline.log.transport.app import App
from tables.typed import TypedTable

NAME = "plugins"


def attach(app: App) -> TypedTable[PluginEvent]:
    """Make the table in its app."""
    return TypedTable(app, NAME, PluginEvent)
