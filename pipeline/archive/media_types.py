"""The media types messages are archived with (archive contract, section 6)."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from pipeline import limits_archive
from pipeline.archive.annotations import EMPTY, MediaTypes
from pipeline.archive.headers import OCTET_STREAM
from pipeline.archive.message import Message
from pipeline.errors import ParserFailure

log = structlog.get_logger(__name__)


async def media_types_of(
    messages: Sequence[Message], named: Sequence[str | None], ask: MediaTypes
) -> list[str]:
    """Give the media type of each message: what its headers named, else what its payload looks like.

    A payload that breaks the parser is ``application/octet-stream``, and no other one suffers from it.

    Raises:
        Unavailable: As `ask` does.
    """
    blocks = [
        message.payload[: limits_archive.MEDIA_TYPE_BLOCK_BYTES]
        for message, name in zip(messages, named, strict=True)
        if name is None and message.payload
    ]
    told = iter(await _patiently(blocks, ask))
    return [
        name or (next(told) if message.payload else EMPTY)
        for message, name in zip(messages, named, strict=True)
    ]


async def _patiently(blocks: list[bytes], ask: MediaTypes) -> Sequence[str]:
    if not blocks:
        return []
    try:
        return await ask(blocks)
    except ParserFailure as error:
        if len(blocks) == 1:
            log.warning("media type not told", reason=str(error))
            return [OCTET_STREAM]
    # One block broke the parser: ask for each alone, so that only that one goes without.
    return [(await _patiently([block], ask))[0] for block in blocks]
