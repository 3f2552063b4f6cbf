"""Which database a configuration names (archive contract, section 14.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from pipeline.errors import SettingError
from pipeline.housekeeping import aws
from pipeline.housekeeping.config import Config


class DatabaseAddress(NamedTuple):
    """A PostgreSQL server and how to log in. The password is not shown."""

    host: str
    port: int
    username: str
    password: str
    database: str
    schema: str = ""

    @property
    def url(self) -> str:
        """The address as the setting `database` has it."""
        login = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@" if self.username else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        schema = f"?schema={quote(self.schema, safe='')}" if self.schema else ""
        return f"postgresql://{login}{host}:{self.port}/{quote(self.database, safe='')}{schema}"

    def __repr__(self) -> str:
        return f"DatabaseAddress({self.username}@{self.host}:{self.port}/{self.database})"


async def address(config: Config) -> DatabaseAddress | None:
    """Return where the PostgreSQL server of a configuration is; None for a mock or a file.

    Raises:
        SettingError: Something it needs is missing. NotFound, Unavailable: As AWS answers.
    """
    kind, given, schema = config.text("db-type"), config.environment, config.text("db-schema")
    if kind == "local":
        return DatabaseAddress(
            given.get("POSTGRESQL_HOST") or config.text("db-host"),
            _port(given.get("POSTGRESQL_PORT") or config.number("db-port")),
            given.get("POSTGRESQL_USERNAME") or config.text("db-username"),
            given.get("POSTGRESQL_PASSWORD", ""),
            given.get("POSTGRESQL_DATABASE") or config.wanted("db-name"),
            schema,
        )
    if kind == "sql":
        return DatabaseAddress(
            config.text("db-host"),
            config.number("db-port"),
            config.text("db-username"),
            given.get("DB_PASSWORD", ""),
            config.wanted("db-name"),
            schema,
        )
    return await _aws_database(config, schema) if kind == "aws" else None


async def _aws_database(config: Config, schema: str) -> DatabaseAddress:
    region = config.region("db-aws-region")
    found = await aws.instance(config.wanted("db-name"), region)
    password = config.environment.get("DB_PASSWORD", "")
    if not password:
        name = config.wanted("db-secret-name")
        password = _password(await aws.secret(name, region))
    return DatabaseAddress(found.host, found.port, found.username, password, found.database, schema)


def _password(text: str) -> str:
    """Read the password of a secret: its text, or that name in its JSON."""
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return text
    return str(found.get("password", text))


def _port(value: str | int) -> int:
    if not str(value).isdigit():
        raise SettingError(f"POSTGRESQL_PORT = {value!r}", "a number is wanted")
    return int(value)


async def url(config: Config, scratch: Path) -> str:
    """Return the setting `database`; a mock is a SQLite file in the folder `scratch`.

    Raises:
        As `address`.
    """
    if config.text("db-table") != "messages":
        raise SettingError(f"db-table = {config.text('db-table')!r}", "the table is always messages")
    kind = config.text("db-type")
    if kind == "mock":
        return _file(scratch / "mock.sqlite")
    if kind == "sqlite":
        path = config.text("db-path")
        return _file(Path(path)) if path else "sqlite:"
    found = await address(config)
    return found.url if found else ""


def _file(path: Path) -> str:
    return f"sqlite://{quote(str(path.expanduser().absolute()))}"
