"""From the setting `database` to a database: what the URL names, or why it names nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from sqlalchemy import URL

from pipeline.errors import SettingError

ALLOWED = (
    "sqlite:, sqlite:///file or postgresql://user:password@host:port/database"
    "[?schema=name][&sslmode=disable|allow|prefer|require|verify-ca|verify-full]"
)
FILE_NAME = "headrace.sqlite"

_SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Location(NamedTuple):
    """Where the database is.

    `path` is set for SQLite only; `schema` (PostgreSQL only) is the namespace all tables live in, None
    for the server's default. `shown` is the address for messages: it never holds the password.
    """

    kind: Literal["sqlite", "postgresql"]
    url: URL
    shown: str
    path: Path | None = None
    schema: str | None = None
    sslmode: str | None = None


def locate(url: str, data_folder: Path) -> Location:
    """Return what the URL names; `sqlite:` alone is a file in the data folder.

    Raises:
        SettingError: The URL is not one of the allowed forms.
    """
    if url.startswith("sqlite:"):
        return _sqlite(url, data_folder)
    if url.startswith("postgresql://"):
        return _postgresql(url)
    raise _refused(url, "neither sqlite nor postgresql")


def _sqlite(url: str, data_folder: Path) -> Location:
    named = url.removeprefix("sqlite:")
    if named in {"", "//"}:
        path = data_folder / FILE_NAME
    elif named.startswith("///") and len(named) > len("///"):
        path = Path("/" + unquote(named.lstrip("/")))
    else:
        raise _refused(url, "the file needs its whole path")
    engine_url = URL.create("sqlite+aiosqlite", database=str(path))
    return Location("sqlite", engine_url, f"sqlite://{path}", path=path)


def _postgresql(url: str) -> Location:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused(url, str(error)) from error
    name = unquote(parts.path.removeprefix("/"))
    if not parts.hostname or not name or "/" in name:
        raise _refused(url, "host and database must be named")
    schema, sslmode = _options(url, parts.query)
    engine_url = URL.create(
        "postgresql+asyncpg",
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        host=parts.hostname,
        port=port or 5432,
        database=name,
    )
    shown = f"postgresql://{parts.hostname}:{engine_url.port}/{name}"
    return Location("postgresql", engine_url, shown, schema=schema, sslmode=sslmode)


def _options(url: str, query: str) -> tuple[str | None, str | None]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    schema, sslmode = options.pop("schema", None), options.pop("sslmode", None)
    if options:
        raise _refused(url, f"unknown option {next(iter(options))}")
    if schema is not None and not _SCHEMA.fullmatch(schema):
        raise _refused(url, "a schema is named by lower-case letters, digits and _")
    if sslmode is not None and sslmode not in _SSL_MODES:
        raise _refused(url, f"unknown sslmode {sslmode}")
    return schema, sslmode


def _refused(url: str, why: str) -> SettingError:
    return SettingError(f"setting database = {_without_password(url)!r}", why, f"allowed: {ALLOWED}")


def _without_password(url: str) -> str:
    return re.sub(r"(://[^:@/]*):.*@", r"\1:***@", url)
