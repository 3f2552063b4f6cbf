"""Which broker a configuration names, and who logs in there (archive contract, sections 3, 4 and 14.2)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Final

from pipeline.errors import SettingError
from pipeline.housekeeping import aws, credentials
from pipeline.housekeeping.config import Config
from pipeline.housekeeping.credentials import Login
from pipeline.log.connection import KafkaConnection
from pipeline.log.location import ALLOWED, connection_to, kafka_address
from pipeline.settings import KafkaSettings

_KAFKA: Final = ("hop", "kcat")
_RANDOM_GROUP: Final = "*random*"
_RANDOM_GROUPS: Final = 10_000
_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


async def source_settings(config: Config) -> dict[str, Any]:
    """Return the settings below `archive` that say where messages come from, and who reads them.

    Raises:
        SettingError: A login cannot be used, or is needed and missing. Unavailable: AWS does not answer.
    """
    login = await login_of(config)
    group = {"group": group_of(config, login)}
    if config.text("hop-type") not in _KAFKA:
        return group
    return {"source": broker_url(config), "kafka": _kafka(config, login), **group}


async def connection_of(config: Config) -> KafkaConnection:
    """Return how to reach the broker, for commands that talk to it themselves.

    Raises:
        As `source_settings`.
    """
    settings = _kafka(config, await login_of(config))
    address = kafka_address("hop-hostname", broker_url(config), ALLOWED)
    return connection_to(address, KafkaSettings.model_validate(settings), "hop")


def broker_url(config: Config) -> str:
    """Return the broker as ``kafka://host:port``."""
    host = config.text("hop-hostname")
    return f"kafka://{f'[{host}]' if ':' in host else host}:{config.number('hop-port')}"


def _kafka(config: Config, login: Login | None) -> dict[str, Any]:
    protocol = config.text("hop-protocol").upper() or (login.protocol if login else "PLAINTEXT")
    if protocol not in _PROTOCOLS:
        raise SettingError(f"hop-protocol = {protocol!r}", f"allowed: {', '.join(_PROTOCOLS)}")
    if protocol.startswith("SASL") and login is None:
        todo = "give HOP_USERNAME and HOP_PASSWORD, hop-local-auth or hop-aws-secret-name"
        raise SettingError(f"hop-protocol = {protocol}", "nobody is named to log in", todo)
    settings: dict[str, Any] = {"tls": protocol.endswith("SSL")}
    if config.text("hop-ca-file") or login:
        settings["ca_file"] = config.text("hop-ca-file") or (login.ca_file if login else "")
    if login is not None and protocol.startswith("SASL"):
        settings["sasl_mechanism"] = credentials.mechanism(config.text("hop-mechanism") or login.mechanism)
        settings["username"], settings["password"] = login.username, login.password
    return settings


def group_of(config: Config, login: Login | None) -> str:
    """Name the consumer group: user name, dash, group name; without a user the group name alone."""
    username = login.username if login else config.text("hop-username")
    username = username or config.environment.get("HOP_USERNAME", "")
    name = config.text("hop-groupname")
    if name == _RANDOM_GROUP:
        name = str(random.randint(0, _RANDOM_GROUPS))  # noqa: S311 - tells groups apart, guards nothing
    return "-".join(filter(None, (username, name)))


async def login_of(config: Config) -> Login | None:
    """Return who logs in at the broker, None where nobody does: environment, file, AWS, in this order.

    Raises:
        SettingError: A file or secret cannot be used. Unavailable: AWS does not answer.
    """
    if config.text("hop-type") not in _KAFKA or config.text("hop-protocol").upper() in {"PLAINTEXT", "SSL"}:
        return None
    given = config.environment
    username = config.text("hop-username") or given.get("HOP_USERNAME", "")
    password = given.get("KAFKA_PASSWORD") or given.get("HOP_PASSWORD", "")
    if username and password:
        return Login(username, password)
    file = _auth_file(config, "hop-local-auth")
    if file is not None:
        host, port = config.text("hop-hostname"), config.number("hop-port")
        return credentials.from_file(file, host=host, port=port, username=username)
    name = config.text("hop-aws-secret-name")
    if name:
        text = await aws.secret(name, config.region("hop-aws-secret-region"))
        return credentials.from_secret(text, name=name)
    return None


def _auth_file(config: Config, key: str) -> Path | None:
    if config.flag(key):
        return credentials.usual_file(config.environment)
    named = config.text(key)
    return Path(named).expanduser() if named else None


async def policy_settings(config: Config) -> dict[str, str]:
    """Return who asks for the list of topics; its credential comes in the order of a broker's."""
    username = config.text("hopauth-username")
    password = config.environment.get("HOPAUTH_PASSWORD", "")
    file, name = _auth_file(config, "hopauth-local-auth"), config.text("hopauth-aws-secret-name")
    login = Login(username, password) if username and password else None
    if login is None and file is not None:
        host, port = config.text("hop-hostname"), config.number("hop-port")
        login = credentials.from_file(file, host=host, port=port, username=username)
    if login is None and name:
        text = await aws.secret(name, config.region("hopauth-aws-secret-region"))
        login = credentials.from_secret(text, name=name)
    found = {"policy_username": login.username, "policy_password": login.password} if login else {}
    if config.text("topic-policy-url") and not config.given("topic-policy"):
        found["policy"] = "http"
    return found
