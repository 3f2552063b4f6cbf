"""Names of the changelog topics of the tables, for whoever reads tables from outside their agent.

Keys are raw UTF-8 text; values are the JSON of `pipeline.hub.tasks.Task` (in_flight), the plugin event
(plugins) and `pipeline.events.parked.ParkedEntry` (parked); a missing value means the entry is gone.
"""

from __future__ import annotations

from typing import Final

IN_FLIGHT: Final = "in_flight"
PLUGINS: Final = "plugins"
PARKED: Final = "parked"
TABLES: Final = (IN_FLIGHT, PLUGINS, PARKED)

TRACK: Final = "track"
"""The agent whose Faust app owns the tables."""


def app_id(prefix: str, agent: str) -> str:
    """Return the Faust app id of an agent, which is also its consumer group."""
    return f"{prefix}-headrace-{agent}"


def changelog_topic(prefix: str, table: str) -> str:
    """Return the changelog topic of a table of agent `track`."""
    return f"{app_id(prefix, TRACK)}-{table}-changelog"
