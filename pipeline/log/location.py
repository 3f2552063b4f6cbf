"""From the setting `log` to a log: the URL chooses the implementation."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pipeline.clock import Clock
from pipeline.errors import SettingError
from pipeline.log.connection import KafkaConnection
from pipeline.log.port import Log
from pipeline.log.shares import AllShares, Shares
from pipeline.settings import KafkaSettings, Settings

ALLOWED = "embedded:, embedded:///folder or kafka://[user@]host:port[,host:port]"


class Where(NamedTuple):
    """Where a log is, for those who bring their own client: a folder, or else a Kafka."""

    folder: Path | None
    connection: KafkaConnection | None
    session_seconds: float
    """How long a member of a consumer group may be silent."""


class KafkaAddress(NamedTuple):
    """A ``kafka://`` URL, taken apart."""

    username: str
    servers: tuple[str, ...]
    path: str


def where(settings: Settings) -> Where:
    """Return where the log is that the settings name."""
    folder = embedded_folder(settings.log, settings.data_folder)
    connection = None if folder else kafka_connection(settings.log, settings.kafka)
    return Where(folder, connection, settings.kafka.session_seconds)


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
    """Return how to reach the Kafka that the setting `log` names.

    Raises:
        SettingError: The URL is not one of the allowed forms.
    """
    address = kafka_address("log", url, ALLOWED)
    if address.path not in {"", "/"}:
        raise SettingError(f"setting log = {url!r}", "it names topics", f"allowed: {ALLOWED}")
    return connection_to(address, settings, "kafka")


def kafka_address(setting: str, url: str, allowed: str) -> KafkaAddress:
    """Take the ``kafka://`` URL of a setting apart.

    Raises:
        SettingError: It is none, or holds a password.
    """
    parts = urlsplit(url)
    username, _, hosts = parts.netloc.rpartition("@")
    servers = tuple(server for server in hosts.split(",") if server)
    if ":" in username:
        shown = url.replace(parts.netloc, f"{username.partition(':')[0]}:…@{hosts}")
        raise SettingError(
            f"setting {setting} = {shown!r}",
            "a password in an address shows up in logs",
            "set the password beside it, in the settings of this Kafka",
        )
    if parts.scheme != "kafka" or not servers or parts.query or parts.fragment:
        raise SettingError(f"setting {setting} = {url!r}", f"allowed: {allowed}")
    return KafkaAddress(username, servers, parts.path)


def connection_to(address: KafkaAddress, settings: KafkaSettings, section: str) -> KafkaConnection:
    """Return how to reach a Kafka: its address and the settings of a section; a user may stand in either.

    Raises:
        SettingError: They name different users.
    """
    if address.username and settings.username not in {"", address.username}:
        raise SettingError(
            f"setting {section}.username = {settings.username!r}",
            f"the address names another user, {address.username!r}",
            "name the user in one of the two",
        )
    return KafkaConnection(
        bootstrap_servers=address.servers,
        tls=settings.tls,
        ca_file=settings.ca_file,
        certificate_file=settings.certificate_file,
        key_file=settings.key_file,
        sasl_mechanism=settings.sasl_mechanism or None,
        username=settings.username or address.username,
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
