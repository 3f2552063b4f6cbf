"""headrace archive announce: tell clients of the source where to upload messages too large for Kafka."""

from __future__ import annotations

import typer

from pipeline.cli import output
from pipeline.cli.alone import log_alone
from pipeline.cli.loop import run_loop
from pipeline.cli.state import settings_of
from pipeline.errors import SettingError
from pipeline.settings import Settings


def register(group: typer.Typer) -> None:
    """Add the command to the group of the archive."""
    group.command("announce")(announce)


def announce(context: typer.Context, *, data: output.DataFolder = None) -> None:
    """Publish archive.external_url on the topic sys.metadata, where hop clients look for it.

    They read the newest message there before they upload, or download with a credential. The topic is made
    when it is missing. Do it again when the address changes.

    Example: headrace -s archive.external_url=https://archive.example.org/api/archive archive announce
    """
    settings = settings_of(context, data=str(data) if data else None)
    topic = run_loop(_announce(settings))
    output.note(f"{settings.archive.external_url} announced on {topic}")


async def _announce(settings: Settings) -> str:
    from pipeline.archive.placeholder import METADATA_TOPIC, announcement
    from pipeline.archive_source import make_source
    from pipeline.log.port import NewRecord, TopicSpec

    url = settings.archive.external_url
    if not url:
        raise SettingError(
            "announce where to upload",
            "archive.external_url is not set",
            "set it to the address clients use",
        )
    async with log_alone(settings) as parts:
        source = make_source(parts)
        if source.where.connection is None:
            raise SettingError(
                "announce where to upload", "nobody else reads the embedded log", "name a Kafka"
            )
        await source.open()
        try:
            if METADATA_TOPIC not in await source.log.topics():
                await source.log.create_topics([TopicSpec(METADATA_TOPIC, 1, 1)])
            await source.log.append([NewRecord(METADATA_TOPIC, None, announcement(url))])
        finally:
            await source.close()
    return METADATA_TOPIC
