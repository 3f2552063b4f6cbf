"""Logins for brokers: from the environment, a credential file, or a secret of AWS, in this order.

The file is the one `hop-client` keeps: TOML, one table ``[[auth]]`` a login. One that others may read is
refused. No login at all is right for brokers that ask for none. Contract: archive section 4.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from pipeline.errors import SettingError

UNSAFE_MODE: Final = 0o7077
"""Mode bits of which a credential file has none."""
IMPLIED_PORT: Final = 9092
_KEYS: Final = {
    "username",
    "password",
    "hostname",
    "protocol",
    "mechanism",
    "ssl_ca_location",
    "token_endpoint",
    "token_command",
}


class Login(msgspec.Struct, frozen=True):
    """Who logs in, and how. The password is not shown."""

    username: str
    password: str
    protocol: str = "SASL_SSL"
    mechanism: str = "SCRAM-SHA-512"
    ca_file: str = ""
    hostname: str = ""

    def __repr__(self) -> str:
        host = f" at {self.hostname}" if self.hostname else ""
        return f"Login({self.username!r}{host}, {self.protocol}, {self.mechanism})"


def usual_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where `hop-client` keeps the file of a user."""
    base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "hop" / "auth.toml"


def from_file(path: Path, *, host: str, port: int, username: str = "") -> Login:
    """Choose the login for a broker: entries of exactly that host first, else those that name none.

    Args:
        path: The file.
        host: Of the broker.
        port: Of the broker.
        username: Only entries of this user; empty for any.

    Raises:
        SettingError: The file is unreadable, unsafe or wrong, or not exactly one entry fits.
    """
    tried = f"choose a login for {host}:{port} in {path}"
    entries = [_login(tried, entry) for entry in _entries(path)]
    entries = [entry for entry in entries if not username or entry.username == username]
    exact = [entry for entry in entries if entry.hostname and _place(entry.hostname) == (host, port)]
    fitting = exact or [entry for entry in entries if not entry.hostname]
    if not fitting:
        who = f" of user {username}" if username else ""
        raise SettingError(tried, f"there is no entry{who} for that host", "add one, or name another file")
    if len(fitting) > 1:
        names = ", ".join(f"{one.username} ({one.hostname or 'any host'})" for one in fitting)
        raise SettingError(tried, f"several entries fit: {names}", "name the user: hop-username")
    return fitting[0]


def _entries(path: Path) -> list[dict[str, Any]]:
    tried = f"read the credential file {path}"
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & UNSAFE_MODE:
                raise SettingError(tried, f"unsafe permissions {mode:04o}", f"chmod 600 {path}")
            found = tomllib.load(file).get("auth", [])
    except OSError as error:
        raise SettingError(tried, error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(tried, f"not TOML: {error}") from error
    # A single table is the older form.
    entries = [found] if isinstance(found, dict) else found
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SettingError(tried, "logins stand in tables [[auth]]")
    return entries


def _login(tried: str, entry: Mapping[str, Any]) -> Login:
    unknown = set(entry) - _KEYS
    if unknown:
        names = ", ".join(sorted(unknown))
        raise SettingError(tried, f"unknown in [[auth]]: {names}", f"known: {', '.join(sorted(_KEYS))}")
    if not all(isinstance(value, str) for value in entry.values()):
        raise SettingError(tried, "every value in [[auth]] is text")
    if "username" not in entry or "password" not in entry:
        raise SettingError(tried, "an entry has no username or no password")
    return Login(
        username=entry["username"],
        password=entry["password"],
        protocol=entry.get("protocol", "SASL_SSL").upper(),
        mechanism=mechanism(entry.get("mechanism", "SCRAM-SHA-512")),
        ca_file=entry.get("ssl_ca_location", ""),
        hostname=entry.get("hostname", ""),
    )


def mechanism(name: str) -> str:
    """Return the name of a mechanism as Kafka spells it; ``-`` and ``_`` are the same."""
    return name.upper().replace("_", "-")


def _place(hostname: str) -> tuple[str, int]:
    host, _, port = hostname.rpartition(":")
    return (host, int(port)) if host and port.isdigit() else (hostname, IMPLIED_PORT)


def from_secret(text: str, *, name: str) -> Login:
    """Read a login from the text of an AWS secret: JSON, or ``username="u" password="p" …``.

    The first form logs in by SCRAM-SHA-512, the second by PLAIN.

    Raises:
        SettingError: It is neither.
    """
    tried = f"read the login in the AWS secret {name}"
    if text.lstrip().startswith("{"):
        try:
            found = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise SettingError(tried, f"not JSON: {error}") from None
        mechanism_meant = "SCRAM-SHA-512"
    else:
        found, mechanism_meant = _pairs(text), "PLAIN"
    username, password = found.get("username"), found.get("password")
    if not isinstance(username, str) or not isinstance(password, str) or not username:
        raise SettingError(tried, "it has no username and password")
    return Login(username, password, mechanism=mechanism_meant)


def _pairs(text: str) -> dict[str, str]:
    """Read ``name="value"`` words; a value may hold spaces."""
    pairs: dict[str, str] = {}
    rest = text
    while '="' in rest:
        name, _, rest = rest.partition('="')
        value, _, rest = rest.partition('"')
        pairs[name.strip()] = value
    return pairs
