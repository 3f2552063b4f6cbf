"""From the setting `log` to a log: the URL chooses the implementation."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pipeline.clock import Clock
from pipeline.errors import SettingError
from pipeline.log.connection import KafkaConnection
from pipeline.log.port import Log
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
