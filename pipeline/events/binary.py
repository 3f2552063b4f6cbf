"""The binary event: something happened to a file. Contract: dispatcher sections 4.1, 4.2."""

from __future__ import annotations

import msgspec

from pipeline.events import times
from pipeline.events.parts import Author, Datastream, Feature, Source
from pipeline.events.shape import Part, UInt32, UInt64, always, always_text


class BinaryEntity(Part, frozen=True):
    """What an event says about a file. `info` is JSON of the plugin, passed on undecoded."""

    sha256: str = always_text()
    sha512: str = ""
    sha1: str = ""
    md5: str = ""
    ssdeep: str = ""
    tlsh: str = ""
    size: UInt64 = 0
    mime: str = ""
    magic: str = ""
    file_format: str = ""
    file_extension: str = ""
    features: tuple[Feature, ...] = ()
    datastreams: tuple[Datastream, ...] = ()
    info: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class BinaryFlags(Part, frozen=True):
    """How an event is to be treated on its way."""

    bypass_cache: bool = False
    expedite: bool = False
    retry: bool = False


class BinaryEvent(Part, frozen=True):
    """Something happened to a file.

    `kafka_key`, `dequeued` and the ``track_`` fields are ours to set; what a client sends there is
    replaced.
    """

    model_version: UInt32 = 0
    kafka_key: str = ""
    timestamp: str = msgspec.field(default_factory=times.zero)
    author: Author = always(Author)
    source: Source = always(Source)
    entity: BinaryEntity = always(BinaryEntity)
    action: str = always_text()
    dequeued: str = ""
    retries: UInt32 = 0
    flags: BinaryFlags = always(BinaryFlags)
    track_source_references: str = ""
    track_links: tuple[str, ...] = ()
    track_authors: tuple[str, ...] = ()
