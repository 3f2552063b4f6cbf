"""An archive as those who read, verify and tidy it see it: its store, its database, its names."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.clock import Clock
from pipeline.database.engine import Database
from pipeline.objects.port import ObjectStore


@dataclass(frozen=True)
class Archive:
    """An archive whose parts are open; closing them is for whoever opened them.

    `prefix` stands before every key in `objects`; `bucket` is what its rows call that store; `cluster` is
    the label of its source. A `protected` archive deletes nothing.
    """

    objects: ObjectStore
    database: Database
    clock: Clock
    prefix: str = ""
    bucket: str = ""
    cluster: str = ""
    protected: bool = False
