"""Who may use the archive over HTTP: the tables ``[[user]]`` of the policy file (archive contract, 17.2).

Passwords and tokens are not in it, only what checks them: the keys of SCRAM-SHA-512 (RFC 5802) and the
SHA-256 of a token. `make_entry` and `make_token_entry` write such tables.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import scramp

from pipeline import limits_archive
from pipeline.errors import BadInput, SettingError

MECHANISM = "SCRAM-SHA-512"
ALLOWED = (
    "allowed in [[user]]: name (text); token_sha256 (hexadecimal); scram-sha-512 = { salt, iterations, "
    "stored_key, server_key } (base64); read, write, owner (lists of topics or globs); groups (list of "
    "groups that own topics)"
)
_HASH_BYTES = 64
_SALT_MIN_BYTES = 12
_ITERATIONS_MIN, _ITERATIONS_MAX = 4096, 10_000_000
"""Fewer protect nothing; clients refuse more."""
_TOKEN_BYTES = 32


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What checks a password without knowing it."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user: how they are told, and the topics they have rights on (`pipeline.archive.access.access`)."""

    name: str
    keys: Keys | None = msgspec.field(default=None, name="scram-sha-512")
    token_sha256: str = ""
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class ScramKeys(NamedTuple):
    """The keys of a user in the order `scramp` wants them."""

    salt: bytes
    stored_key: bytes
    server_key: bytes
    iterations: int


class Users:
    """The users of an installation, by name and by token.

    Args:
        users: All of them; none may occur twice.
    """

    def __init__(self, users: Iterable[User] = ()) -> None:
        self._by_name = {user.name: user for user in users}
        self._secret = secrets.token_bytes(_HASH_BYTES)
        known = (user.keys.iterations for user in self._by_name.values() if user.keys is not None)
        self._iterations = next(known, limits_archive.SCRAM_ITERATIONS)

    def named(self, name: str) -> User | None:
        """Return a user by name."""
        return self._by_name.get(name)

    def with_token(self, token: str) -> User | None:
        """Return whose token it is; how long it takes tells nothing about the tokens there are."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for user in self._by_name.values():
            if user.token_sha256 and hmac.compare_digest(user.token_sha256.lower(), digest):
                found = user
        return found

    def keys_of(self, name: str) -> ScramKeys:
        """Return the keys of a user; of nobody some that no password has, the same ones each time.

        So an authentication does not tell which users there are.
        """
        user = self._by_name.get(name)
        keys = user.keys if user is not None else None
        if keys is not None:
            return ScramKeys(keys.salt, keys.stored_key, keys.server_key, keys.iterations)
        salt = hmac.digest(self._secret, name.encode(), "sha256")[: limits_archive.SCRAM_SALT_BYTES]
        nobodys = secrets.token_bytes(_HASH_BYTES)
        return ScramKeys(salt, nobodys, nobodys, self._iterations)


def parse_users(tables: Sequence[Mapping[str, Any]], file: str) -> Users:
    """Read the tables of a file.

    Raises:
        SettingError: One is not as it must be; says which, and what is allowed.
    """
    users: dict[str, User] = {}
    for table in tables:
        tried = f"read the users in {file}, user {table.get('name')!r}"
        try:
            user = msgspec.convert(table, User)
        except msgspec.ValidationError as error:
            raise SettingError(tried, str(error), ALLOWED) from None
        why = _wrong(user) or ("it is there more than once" if user.name in users else "")
        if why:
            raise SettingError(tried, why, ALLOWED)
        users[user.name] = user
    return Users(users.values())


def _wrong(user: User) -> str:
    """Say what is wrong with a user; nothing is the empty text."""
    if not user.name:
        return "the name is empty"
    if user.token_sha256 and not _is_digest(user.token_sha256):
        return "token_sha256 is not 64 hexadecimal digits"
    if user.keys is not None:
        return _wrong_keys(user.keys)
    return "" if user.token_sha256 else "it has neither scram-sha-512 nor token_sha256"


def _wrong_keys(keys: Keys) -> str:
    if len(keys.stored_key) != _HASH_BYTES or len(keys.server_key) != _HASH_BYTES:
        return f"stored_key and server_key are not {_HASH_BYTES} bytes"
    if len(keys.salt) < _SALT_MIN_BYTES:
        return f"the salt is shorter than {_SALT_MIN_BYTES} bytes"
    if not _ITERATIONS_MIN <= keys.iterations <= _ITERATIONS_MAX:
        return f"iterations is not from {_ITERATIONS_MIN} to {_ITERATIONS_MAX}"
    return ""


def _is_digest(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == hashlib.sha256().digest_size
    except ValueError:
        return False


def make_entry(name: str, password: str) -> str:
    """Write the table of a user with a password; it takes a fraction of a second.

    Raises:
        BadInput: Name or password hold characters that names and passwords cannot have (RFC 4013).
    """
    try:
        mechanism = scramp.ScramMechanism(MECHANISM)
        salt, stored, server, iterations = mechanism.make_auth_info(
            password, limits_archive.SCRAM_ITERATIONS, secrets.token_bytes(limits_archive.SCRAM_SALT_BYTES)
        )
    except scramp.ScramException as error:
        raise BadInput("make the keys of a password", str(error)) from error
    texts = [base64.b64encode(each).decode() for each in (salt, stored, server)]
    keys = (
        f'{{ salt = "{texts[0]}", iterations = {iterations}, stored_key = "{texts[1]}", '
        f'server_key = "{texts[2]}" }}'
    )
    return _table(name, f"scram-sha-512 = {keys}")


def make_token_entry(name: str) -> tuple[str, str]:
    """Make a new token; return it and the table of the user who has it."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    return token, _table(name, f'token_sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"')


def _table(name: str, how: str) -> str:
    # A JSON string is a TOML string, but for characters that TOML wants escaped and JSON does not.
    quoted = json.dumps(name).replace("\x7f", "\\u007F")
    rights = "".join(f"{right} = []\n" for right in ("read", "write", "owner", "groups"))
    return f"[[user]]\nname = {quoted}\n{how}\n{rights}"
