"""The text by which an archived message is found (archive contract, section 6).

Headers are read here; payloads only in the parser process. What a payload does to its parser costs that
message the text of its payload, and nothing else.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

import structlog

from pipeline.archive.message import Message
from pipeline.archive.source.policy import TopicPolicy
from pipeline.errors import ParserFailure
from pipeline.log.port import Headers
from pipeline.settings import ArchiveSettings

log = structlog.get_logger(__name__)

_SENDER = "_sender"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of characters that no encoding has."""


class Text(NamedTuple):
    """The searchable text of a message.

    `fully` says that nothing of it is missing: the payload is empty, or of a type that has text, small
    enough and read to its end, and the text was not cut. Strings passed over because they look like
    encoded data, and header values that are no UTF-8, are not text.
    """

    text: str
    fully: bool


PayloadTexts = Callable[[Sequence[tuple[str, bytes]], int], Awaitable[Sequence[tuple[str, bool]]]]
"""Finds the text of payloads, each given after its media type: so many characters at most; is it all?

The payloads are untrusted bytes. Raises `ParserFailure` when one of them breaks the parser.
"""


class Texts:
    """Finds the searchable text of messages.

    Args:
        policy: Says of which topics texts are searched.
        payload_texts: Finds the texts of payloads.
        message_max_bytes: From this size on the text of a payload is not looked for.
        max_characters: Longest text.
    """

    def __init__(
        self,
        policy: TopicPolicy,
        payload_texts: PayloadTexts,
        *,
        message_max_bytes: int,
        max_characters: int,
    ) -> None:
        self._policy = policy
        self._payload_texts = payload_texts
        self._message_max_bytes = message_max_bytes
        self._max_characters = max_characters

    @classmethod
    def chosen(cls, policy: TopicPolicy, payload_texts: PayloadTexts, settings: ArchiveSettings) -> Texts:
        """Find texts within the limits of the settings."""
        return cls(
            policy,
            payload_texts,
            message_max_bytes=settings.text_message_max_bytes,
            max_characters=settings.text_max_characters,
        )

    def wanted(self, topic: str) -> bool:
        """Say whether the texts of that topic's messages are searched."""
        return self._policy.rule(topic).index_archived_text

    async def of(self, messages: Sequence[Message], media_types: Sequence[str]) -> list[Text | None]:
        """Give the text of each message, None where its topic is not searched.

        `media_types` are those the messages are archived with.

        Raises:
            Unavailable: No parser process can be started.
        """
        asked = [self.wanted(message.topic) for message in messages]
        payloads = [
            (media_type, message.payload)
            for message, media_type, wanted in zip(messages, media_types, asked, strict=True)
            if wanted
        ]
        found = iter(await self._found(payloads))
        return [
            self._text(message, *next(found)) if wanted else None
            for message, wanted in zip(messages, asked, strict=True)
        ]

    def _text(self, message: Message, of_payload: str, complete: bool) -> Text:
        joined = " ".join([*_strings(message.headers), *([of_payload] if of_payload else [])])
        fully = len(joined) <= self._max_characters and (complete or not message.payload)
        return Text(clean(joined[: self._max_characters]), fully)

    async def _found(self, payloads: list[tuple[str, bytes]]) -> list[tuple[str, bool]]:
        small = [len(payload) < self._message_max_bytes for _, payload in payloads]
        found = iter(await self._patiently(list(itertools.compress(payloads, small))))
        return [next(found) if each else ("", False) for each in small]

    async def _patiently(self, payloads: list[tuple[str, bytes]]) -> list[tuple[str, bool]]:
        if not payloads:
            return []
        try:
            return list(await self._payload_texts(payloads, self._max_characters))
        except ParserFailure as error:
            if len(payloads) == 1:
                log.warning("text of a payload not found", media_type=payloads[0][0], reason=str(error))
                return [("", False)]
        # One payload broke the parser: ask for each alone, so that only that one goes without.
        return [found for payload in payloads for found in await self._patiently([payload])]


def clean(text: str) -> str:
    """Put a space in the place of every character that is no text for a database."""
    return _CONTROL.sub(" ", text)


def _strings(headers: Headers | None) -> Iterator[str]:
    """Yield names and values of the headers that say something to people."""
    for name, value in headers or ():
        if value is None or (name.startswith("_") and name != _SENDER):
            continue
        try:
            text = value.decode()
        except UnicodeDecodeError:
            continue
        yield name.removeprefix("_")
        yield text
