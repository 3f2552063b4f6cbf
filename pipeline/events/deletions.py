"""Which binary events have been deleted, by what the delete events so far say.

State in memory, fed from the delete topic from its start. Contract: dispatcher section 12, step 5.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict

from pipeline.events import times
from pipeline.events.binary import BinaryEvent
from pipeline.events.delete import DeleteEvent


class Deletions:
    """All deletions known so far. Adding one twice changes nothing."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._links: set[str] = set()
        self._authors: dict[str, dt.datetime] = {}
        self._submissions: defaultdict[str, set[dt.datetime | None]] = defaultdict(set)

    def __len__(self) -> int:
        """Count what is named: keys, links, authors and submissions."""
        named = (self._keys, self._links, self._authors, self._submissions)
        return sum(map(len, named))

    def add(self, event: DeleteEvent) -> None:
        """Take in one delete event; only the part its action names counts.

        Raises:
            EventCorrupt: A time in it cannot be read.
        """
        entity = event.entity
        match event.action:
            case "ids" if entity.ids:
                self._keys.update(entity.ids.ids)
            case "link" if entity.link:
                self._links.add(entity.link.track_link)
            case "author" if entity.author and entity.author.timestamp:
                before = times.parse(entity.author.timestamp)
                name = entity.author.track_author
                self._authors[name] = max(before, self._authors.get(name, before))
            case "submission" if entity.submission:
                at = entity.submission.timestamp
                moment = times.parse(at) if at else None
                self._submissions[entity.submission.track_source_references].add(moment)
            case _:
                pass

    def cover(self, event: BinaryEvent) -> bool:
        """Say whether a binary event is deleted. Its key and tracking fields must be set.

        Raises:
            EventCorrupt: A time in it cannot be read.
        """
        return (
            event.kafka_key in self._keys
            or not self._links.isdisjoint(event.track_links)
            or self._author_gone(event)
            or self._submission_gone(event)
        )

    def _author_gone(self, event: BinaryEvent) -> bool:
        ends = [self._authors[name] for name in event.track_authors if name in self._authors]
        return bool(ends) and times.parse(event.timestamp) < max(ends)

    def _submission_gone(self, event: BinaryEvent) -> bool:
        moments = self._submissions.get(event.track_source_references)
        if moments is None:
            return False
        return None in moments or times.parse(event.source.timestamp) in moments
