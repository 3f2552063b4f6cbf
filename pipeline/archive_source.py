"""Where the archive's messages come from: the setting `log`, or a Kafka of its own (contract, section 3).

A source of its own is only read: nothing is created or written there but the offsets of the archive's
consumer group. What has to be written elsewhere, as entries of parked messages, goes to Headrace's own log.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.app import Parts
from pipeline.errors import SettingError
from pipeline.hub.changelogs import app_id
from pipeline.log.location import Where, connection_to, kafka_address, where
from pipeline.log.port import Log
from pipeline.settings import Settings

ALLOWED = "kafka://[user@]host:port[,host:port][/topic,topic], or nothing"


@dataclass(frozen=True)
class Source:
    """What the archive reads, and as whom."""

    log: Log
    where: Where
    group: str
    own: bool
    """Whether it is Headrace's own log, which others open and close."""
    topics: tuple[str, ...] = ()
    """Topics its address names; none: those the settings choose."""
    usual: str = "*"
    """Glob of the topics that are archived when neither its address nor the settings name any."""

    async def open(self) -> None:
        """Connect; nothing happens when it is open. Raises `Unavailable`."""
        if not self.own:
            await self.log.open()

    async def close(self) -> None:
        """Let go of what `open` opened; safe to repeat."""
        if not self.own:
            await self.log.close()


def make_source(parts: Parts) -> Source:
    """Make the source the settings name; nothing is connected yet.

    Raises:
        SettingError: The address is not one of the allowed forms.
    """
    settings = parts.settings
    if not settings.archive.source:
        usual = f"azul.{settings.events.prefix}.*"
        return Source(parts.log, where(settings), group_of(settings), own=True, usual=usual)
    from pipeline.log.kafka.log import KafkaLog

    address = kafka_address("archive.source", settings.archive.source, ALLOWED)
    connection = connection_to(address, settings.archive.kafka, "archive.kafka")
    named = tuple(topic for topic in address.path.removeprefix("/").split(",") if topic)
    if any("/" in topic for topic in named):
        raise SettingError(f"setting archive.source = {settings.archive.source!r}", f"allowed: {ALLOWED}")
    there = Where(None, connection, settings.archive.kafka.session_seconds)
    log = KafkaLog(connection, parts.clock)
    return Source(log, there, group_of(settings), own=False, topics=named)


def group_of(settings: Settings) -> str:
    """Name the archive's consumer group.

    Without a setting it is that of an agent; where the source has a user, it begins with the user's name,
    as brokers that tell users apart want it.
    """
    chosen = settings.archive
    if chosen.group:
        return chosen.group
    username = ""
    if chosen.source:
        username = kafka_address("archive.source", chosen.source, ALLOWED).username or chosen.kafka.username
    return f"{username}-archive" if username else app_id(settings.events.prefix, "archive")
