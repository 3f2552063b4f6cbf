"""From messages to drafts: all that is computed or asked once of each, before anything is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from pipeline import limits_archive
from pipeline.archive.annotations import MediaTypes
from pipeline.archive.media_types import media_types_of
from pipeline.archive.message import Message
from pipeline.archive.source.policy import OVERSIZED
from pipeline.archive.storing.draft import Draft, make_draft
from pipeline.archive.text.text import Text
from pipeline.clock import Clock

T = TypeVar("T")


class FindsTexts(Protocol):
    """Tells what is searched of messages (`pipeline.archive.text.text.Texts`)."""

    def of(
        self, messages: Sequence[Message], media_types: Sequence[str]
    ) -> Awaitable[Sequence[Text | None]]:
        """Give the text of each message, None where its topic is not searched."""


class Drafting:
    """Makes drafts of messages.

    Args:
        clock: Gives the time of ingest.
        media_types: Tells MIME types of payload starts; called with untrusted bytes.
        cluster: Label of the source in identities.
        public: Says of a topic whether everybody may read its messages.
        texts: Finds what is searched; None where nothing is.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        media_types: MediaTypes,
        cluster: str = "",
        public: Callable[[str], bool] = lambda _topic: True,
        texts: FindsTexts | None = None,
    ) -> None:
        self._clock = clock
        self._media_types = media_types
        self._cluster = cluster
        self._public = public
        self._texts = texts

    async def drafts(self, messages: Sequence[Message]) -> list[Draft]:
        """Make the draft of each message. Raises `Unavailable` when no parser process can be started."""
        now_ms = int(self._clock.unix() * 1000)
        public = {topic: self._is_public(topic) for topic in {message.topic for message in messages}}
        drafts: list[Draft] = []

        def make(start: int, end: int) -> None:
            drafts.extend(
                make_draft(
                    message, cluster=self._cluster, public=public[message.topic], ingest_time_ms=now_ms
                )
                for message in messages[start:end]
            )

        await in_turns(messages, make)
        named = [draft.identity.said.media_type for draft in drafts]
        media_types = await media_types_of(messages, named, self._media_types)
        for draft, media_type in zip(drafts, media_types, strict=True):
            draft.media_type = media_type
        if self._texts is not None:
            texts = await self._texts.of(messages, media_types)
            for draft, text in zip(drafts, texts, strict=True):
                draft.text = text
        return drafts

    def _is_public(self, topic: str) -> bool:
        return self._public(topic.removesuffix(OVERSIZED))


async def computed(messages: Sequence[Message], work: Callable[[], T]) -> T:
    """Run work over the bytes of messages, in a thread when it would hold up the event loop."""
    if sum([len(message.value or b"") for message in messages]) <= limits_archive.ARCHIVE_INLINE_BYTES:
        return work()
    return await asyncio.to_thread(work)


async def in_turns(messages: Sequence[Message], work: Callable[[int, int], None]) -> None:
    """Run work over the bytes of messages, from one index to another at a time, in order.

    The event loop gets a turn in between. Small ones are worked on right here: a thread would only compete
    for the interpreter. What takes longer goes to one.
    """
    count = limits_archive.ARCHIVE_TURN_MESSAGES
    for start in range(0, len(messages), count):
        some = messages[start : start + count]
        if sum([len(message.value or b"") for message in some]) <= limits_archive.ARCHIVE_INLINE_BYTES:
            work(start, start + count)
            await asyncio.sleep(0)
        else:
            await asyncio.to_thread(work, start, start + count)
