"""From the setting `log` to a log: the URL chooses the implementation."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pipeline.clock import Clock
from pipeline.errors import SettingError
from pipeline.log.connection import KafkaConnection
from pipeline.log.port import Log
from pipeline.log.shares import AllShares, Shares
from pipeline.settings import KafkaSettings, Settings

ALLOWED = "embedded:, embedded:///folder or kafka://host:port[,host:port]"


def embedded_folder(url: str, data_folder: Path) -> Path | None:
    """Return the folder of an embedded log, None when the URL names Kafka."""
    if not url.startswith("embedded:"):
        return None
    path = url.removeprefix("embedded:").removeprefix("//")
    if not path:
        return data_folder / "log"
    if not path.startswith("/"):
        raise SettingError(f"setting log = {url!r}", f"allowed: {ALLOWED}")
    return Path(path)


def kafka_connection(url: str, settings: KafkaSettings) -> KafkaConnection:
    """Return how to reach the Kafka a URL names."""
    parts = urlsplit(url)
    servers = tuple(server for server in parts.netloc.split(",") if server)
    if parts.scheme != "kafka" or not servers or parts.path not in {"", "/"}:
        raise SettingError(f"setting log = {url!r}", f"allowed: {ALLOWED}")
    return KafkaConnection(
        bootstrap_servers=servers,
        tls=settings.tls,
        ca_file=settings.ca_file,
        certificate_file=settings.certificate_file,
        key_file=settings.key_file,
        sasl_mechanism=settings.sasl_mechanism or None,
        username=settings.username,
        password=settings.password.get_secret_value(),
        client_id=settings.client_id,
    )


def make_log(settings: Settings, clock: Clock) -> Log:
    """Make the log the settings name; nothing is opened yet.

    Raises:
        SettingError: The URL is not one of the allowed forms.
    """
    folder = embedded_folder(settings.log, settings.data_folder)
    if folder is not None:
        from pipeline.log.embedded.log import shared

        return shared(folder, clock)
    from pipeline.log.kafka.log import KafkaLog

    return KafkaLog(kafka_connection(settings.log, settings.kafka))


def make_shares(settings: Settings, clock: Clock, *, topic: str, group: str, count: int) -> Shares:
    """Make the division of work that goes with the log the settings name; nobody has joined yet.

    Args:
        settings: Name the log.
        clock: For the division.
        topic: On Kafka, its partitions are the parts.
        group: Who divides them.
        count: How many there are.

    Raises:
        SettingError: The URL is not one of the allowed forms.
    """
    if embedded_folder(settings.log, settings.data_folder) is not None:
        return AllShares(count)
    from pipeline.log.kafka.shares import KafkaShares

    connection = kafka_connection(settings.log, settings.kafka)
    session_seconds = settings.kafka.session_seconds
    return KafkaShares(connection, topic=topic, group=group, session_seconds=session_seconds, clock=clock)
