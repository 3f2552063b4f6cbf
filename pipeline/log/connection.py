"""How to reach a Kafka: addresses, TLS and SASL."""

from __future__ import annotations

import ssl
from typing import Any

import msgspec

from pipeline.errors import SettingError

_MECHANISMS = (None, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class KafkaConnection(msgspec.Struct, frozen=True):
    """What a client needs to reach a Kafka.

    Without `tls` the files mean nothing; with it, no `ca_file` means the authorities the system trusts,
    and `certificate_file` (with `key_file`, unless the key is in it) is shown to brokers that ask for one.
    Without `sasl_mechanism` nobody logs in.
    """

    bootstrap_servers: tuple[str, ...]
    tls: bool = False
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    sasl_mechanism: str | None = None
    username: str = ""
    password: str = ""
    client_id: str = "headrace"

    def __repr__(self) -> str:
        """Show everything but the password."""
        servers = ",".join(self.bootstrap_servers)
        return f"KafkaConnection({servers}, tls={self.tls}, sasl={self.sasl_mechanism})"


def client_arguments(connection: KafkaConnection) -> dict[str, Any]:
    """Return the keyword arguments every client class of aiokafka takes.

    Raises:
        SettingError: A file cannot be read, or settings contradict each other.
    """
    if connection.sasl_mechanism not in _MECHANISMS:
        raise SettingError(
            f"setting kafka.sasl_mechanism = {connection.sasl_mechanism!r}",
            "it is not known",
            f"allowed: {', '.join(name for name in _MECHANISMS if name)}, or nothing",
        )
    if connection.sasl_mechanism and not connection.username:
        raise SettingError("setting kafka.username", f"{connection.sasl_mechanism} needs one")
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(connection.bootstrap_servers),
        "client_id": connection.client_id,
        "security_protocol": _protocol(connection),
    }
    if connection.tls:
        arguments["ssl_context"] = _context(connection)
    if connection.sasl_mechanism:
        arguments["sasl_mechanism"] = connection.sasl_mechanism
        arguments["sasl_plain_username"] = connection.username
        arguments["sasl_plain_password"] = connection.password
    return arguments


def _protocol(connection: KafkaConnection) -> str:
    secure = "SSL" if connection.tls else "PLAINTEXT"
    return f"SASL_{secure}" if connection.sasl_mechanism else secure


def _context(connection: KafkaConnection) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=connection.ca_file or None)
        if connection.certificate_file:
            context.load_cert_chain(connection.certificate_file, connection.key_file or None)
    except (OSError, ssl.SSLError) as error:
        files = [connection.ca_file, connection.certificate_file, connection.key_file]
        raise SettingError(
            "read the TLS files of kafka " + ", ".join(file for file in files if file),
            str(error),
            "each must be a readable PEM file",
        ) from error
    return context
