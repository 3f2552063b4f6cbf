"""The download event: a file is wanted from outside. Contract: dispatcher section 4.7."""

from __future__ import annotations

import msgspec

from pipeline.events import times
from pipeline.events.parts import Author, Source
from pipeline.events.shape import Part, UInt32, always, always_text


class DownloadEntity(Part, frozen=True):
    """The file wanted. `direct_expiry` is a time in posted form, empty when unset."""

    hash: str = always_text()
    direct_url: str = ""
    direct_expiry: str = ""
    pcap: bool = False
    category: str = ""
    category_quota: UInt32 = 0
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class DownloadEvent(Part, frozen=True):
    """A file is wanted from outside, or what became of that."""

    model_version: UInt32 = 0
    kafka_key: str = ""
    timestamp: str = msgspec.field(default_factory=times.zero)
    author: Author = always(Author)
    source: Source = always(Source)
    entity: DownloadEntity = always(DownloadEntity)
    action: str = always_text()
