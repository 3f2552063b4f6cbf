"""SCRAM-SHA-512 over HTTP, the server's side (RFC 5802, RFC 7804; archive contract, section 17.2).

An authentication is two requests: the first is answered with 401 and a challenge, the second is the
request proper. Between the two this process remembers the session; another process does not know it.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from typing import NamedTuple

import scramp

from pipeline import limits_archive
from pipeline.archive.access.users import MECHANISM, Users
from pipeline.clock import Clock

REALM = "headrace"
_SESSION_BYTES = 18
_OTHER_ERROR = "other-error"


class Challenge(NamedTuple):
    """The answer to a client's first message: the value of ``WWW-Authenticate``."""

    header: str


class Finished(NamedTuple):
    """The end of an authentication: who it was, None when it failed.

    `info` is the value of ``Authentication-Info``, which the client gets in either case.
    """

    name: str | None
    info: str


class _Session(NamedTuple):
    server: scramp.core.ScramServer
    name: str
    until: float


class Scram:
    """Authentications under way, each for `SCRAM_SESSION_SECONDS`, each finished once at most."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[str, _Session] = {}  # oldest first

    def step(self, parameters: Mapping[str, str], users: Users) -> Challenge | Finished:
        """Take what a client sent with the name of the mechanism.

        What makes no sense is answered as a failure; it never raises.
        """
        message = _decoded(parameters.get("data", ""))
        name = parameters.get("sid")
        return self._begin(message, users) if name is None else self._finish(name, message)

    def _begin(self, message: str, users: Users) -> Challenge | Finished:
        who: list[str] = []

        def keys_of(name: str) -> tuple[bytes, bytes, bytes, int]:
            who.append(name)
            return users.keys_of(name)

        server = scramp.ScramMechanism(MECHANISM).make_server(keys_of)
        try:
            server.set_client_first(message)
            first = server.get_server_first()
        except scramp.ScramException:
            return Finished(None, "")
        self._forget()
        session = secrets.token_urlsafe(_SESSION_BYTES)
        until = self._clock.monotonic() + limits_archive.SCRAM_SESSION_SECONDS
        self._sessions[session] = _Session(server, who[0], until)
        return Challenge(f"{MECHANISM} sid={session},data={_encoded(first)}")

    def _finish(self, name: str, message: str) -> Finished:
        session = self._sessions.pop(name, None)
        if session is None or session.until < self._clock.monotonic():
            # Quoted back only when it looks like one of ours: it ends up in a header.
            shown = name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else "none"
            return Finished(None, f"sid={shown},data={_encoded(f'e={_OTHER_ERROR}')}")
        try:
            session.server.set_client_final(message)
        except scramp.ScramException as error:
            why = error.server_error.value if error.server_error else _OTHER_ERROR
            return Finished(None, f"sid={name},data={_encoded(f'e={why}')}")
        return Finished(session.name, f"sid={name},data={_encoded(session.server.get_server_final())}")

    def _forget(self) -> None:
        """Make room: what has lapsed goes, and the oldest when there are too many."""
        now = self._clock.monotonic()
        while self._sessions:
            name = next(iter(self._sessions))
            if (
                self._sessions[name].until >= now
                and len(self._sessions) < limits_archive.SCRAM_SESSIONS_MAX
            ):
                return
            del self._sessions[name]


def parameters_of(text: str) -> dict[str, str]:
    """Read ``name=value`` pairs between commas, values quoted or not."""
    pairs = (part.strip().partition("=") for part in text.split(","))
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs if name}


def _decoded(data: str) -> str:
    if len(data) > limits_archive.SCRAM_MESSAGE_MAX_BYTES:
        return ""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _encoded(message: str) -> str:
    return base64.b64encode(message.encode()).decode()
