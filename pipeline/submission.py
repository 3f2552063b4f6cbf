"""A submission: bytes become an object, then an event says that they came.

Guarantees the order that loses nothing (design, section 4.1): the object is durable before the event names
it, and the event is durable before `submit` returns. The same bytes with the same source, time and
references are the same event: its key is computed from them (dispatcher contract, section 5.1).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import AsyncIterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from pipeline import limits
from pipeline.app import Parts
from pipeline.errors import BadInput, NotFound
from pipeline.events import times
from pipeline.events.models import Author, BinaryEntity, BinaryEvent, Datastream, Feature, PathNode, Source
from pipeline.events.names import CONTENT, CURRENT, SOURCED
from pipeline.events.records import completed, record_of
from pipeline.events.sources import SourceDefinition
from pipeline.identify.datastream import Identify, describe
from pipeline.objects.hashing import Digest, stored_stream
from pipeline.objects.keys import stream_key

AUTHOR: Final = Author(name="local", category="user")
"""Whoever submits while nobody has to say who they are."""

_SEPARATORS = re.compile(r"[/\\]")


class EventPlace(msgspec.Struct, frozen=True):
    """An event on the log: its id (Kafka key) and where it stands."""

    id: str
    topic: str
    partition: int
    offset: int


class Submitted(msgspec.Struct, frozen=True):
    """What came of a submission; everything in it is durable."""

    sha256: str
    size_bytes: int
    md5: str
    sha1: str
    sha512: str
    event: EventPlace


async def submit(
    parts: Parts,
    source: AsyncIterable[bytes] | Path | bytes,
    *,
    source_name: str,
    identify: Identify | None = None,
    filename: str = "",
    references: Mapping[str, str] | None = None,
    source_timestamp: dt.datetime | None = None,
) -> Submitted:
    """Store bytes and publish their sourced event.

    Everything that can be checked without the bytes is checked before they are read. A crash between the
    two writes leaves an object no event names; submitting again replaces it by itself.

    Args:
        parts: Where to.
        source: The bytes; a stream is read once.
        source_name: A configured source.
        identify: Says what the bytes are, so that plugins may choose by format; None: nobody says.
        filename: Name to record, with or without its path; empty: none.
        references: What to remember with it; part of the event's key.
        source_timestamp: When it was submitted first; None: now.

    Raises:
        NotFound: The source is not configured, or the file does not exist.
        BadInput: There are no bytes, a reference is missing or unknown, a text is too long.
        TooLarge: There are more than `limits.OBJECT_MAX_BYTES` bytes.
    """
    definition = source_named(parts, source_name)
    references = dict(references or {})
    check_references(definition, references)
    _check_filename(filename)
    now = parts.clock.now()
    async with stored_stream(
        parts.objects, source, lambda found: content_key(source_name, found)
    ) as stored:
        digest = stored.digest
        content = await describe(stored, identify) if identify else None
    event = sourced_event(
        digest,
        content,
        source_name=source_name,
        filename=filename,
        references=references,
        source_timestamp=source_timestamp or now,
        now=now,
    )
    # The object is durable and nothing names it yet.
    [placed] = await parts.log.append([record_of(parts.settings.events.prefix, event)])
    place = EventPlace(event.kafka_key, placed.topic, placed.partition, placed.offset)
    return Submitted(digest.sha256, digest.size_bytes, digest.md5, digest.sha1, digest.sha512, place)


def sourced_event(
    digest: Digest,
    content: Datastream | None = None,
    *,
    source_name: str,
    filename: str = "",
    references: Mapping[str, str] | None = None,
    source_timestamp: dt.datetime,
    now: dt.datetime,
) -> BinaryEvent:
    """Make the complete sourced event of stored bytes, with its key and tracking fields.

    `content` is what identification says of them. It describes the stream only: what it says of the object
    comes with the enriched event, and rule hits with it.
    """
    time = times.text_of(now)
    hashes = digest.hashes()
    content = content or Datastream(label=CONTENT, size=digest.size_bytes, **hashes)
    node = PathNode(
        author=AUTHOR,
        action=SOURCED,
        sha256=digest.sha256,
        timestamp=time,
        size=digest.size_bytes,
        filename=base_name(filename),
        file_format=content.file_format,
    )
    named = (Feature(name="filename", value=filename, type="filepath"),) if filename else ()
    event = BinaryEvent(
        model_version=CURRENT,
        timestamp=time,
        author=AUTHOR,
        source=Source(
            name=source_name,
            references=dict(references or {}),
            path=(node,),
            timestamp=times.text_of(source_timestamp),
        ),
        entity=BinaryEntity(size=digest.size_bytes, features=named, datastreams=(content,), **hashes),
        action=SOURCED,
    )
    return completed(event)


def content_key(source_name: str, digest: Digest) -> str:
    """Return the key content is stored under.

    Raises:
        BadInput: There are no bytes.
    """
    if digest.size_bytes == 0:
        raise BadInput("store what was submitted", "it is empty", "submit at least one byte")
    return stream_key(source_name, CONTENT, digest.sha256)


def base_name(filename: str) -> str:
    """Return the last part of a path in either notation."""
    return _SEPARATORS.split(filename)[-1]


def source_named(parts: Parts, name: str) -> SourceDefinition:
    """Return a configured source.

    Raises:
        NotFound: It is not configured; the message names those that are.
    """
    definition = parts.sources.get(name)
    if definition is None:
        known = ", ".join(sorted(parts.sources)) or "none"
        raise NotFound(
            f"submit to source {name[:100]!r}",
            f"it is not configured; the sources are: {known}",
            "add it under events.sources in the settings",
        )
    return definition


def check_references(definition: SourceDefinition, references: Mapping[str, str]) -> None:
    """Accept references that fit their source: the required ones are there, none is too long.

    A source that declares references takes no others; one that declares none takes any.

    Raises:
        BadInput: They do not fit; the message names the first that does not.
    """
    tried = f"submit to source {definition.name}"
    declared = {reference.name for reference in definition.references}
    for reference in definition.references:
        if reference.required and not references.get(reference.name):
            raise BadInput(tried, f"the reference {reference.name!r} is required", "add it")
    if len(references) > limits.REFERENCES_MAX:
        raise BadInput(tried, f"more than {limits.REFERENCES_MAX} references are given")
    for key, value in references.items():
        if declared and key not in declared:
            known = ", ".join(sorted(declared))
            raise BadInput(tried, f"it knows no reference {key[:100]!r}", f"it knows: {known}")
        if not key or max(len(key), len(value)) > limits.REFERENCE_MAX_CHARS:
            raise BadInput(tried, f"reference {key[:100]!r} is empty or too long")


def _check_filename(filename: str) -> None:
    if len(filename) > limits.FILENAME_MAX_CHARS:
        raise BadInput("submit", f"the file name has more than {limits.FILENAME_MAX_CHARS} characters")
