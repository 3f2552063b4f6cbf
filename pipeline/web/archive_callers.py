"""Who calls the archive, and what they may do there (archive contract, sections 17.1 and 17.2).

Users come from the setting `archive.policy_file`, with every policy. The file is read anew when it has
changed; one that cannot be read then is logged, and the users there were stay.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import structlog
from aiohttp import web

from pipeline import limits_archive
from pipeline.archive.access import access
from pipeline.archive.access.users import MECHANISM, User, Users, parse_users
from pipeline.archive.lookup import ArchivedRow
from pipeline.archive.source import policy_file
from pipeline.archive.source.policy import TopicPolicy
from pipeline.clock import Clock
from pipeline.errors import HeadraceError, SettingError
from pipeline.settings import ArchiveSettings
from pipeline.web.archive_problems import Refused
from pipeline.web.scram import REALM, Challenge, Scram, parameters_of

log = structlog.get_logger(__name__)

_INFO = web.RequestKey("archive authentication info", str)
_CHALLENGE = {"WWW-Authenticate": f'{MECHANISM} realm="{REALM}"'}


class Callers:
    """Tells who makes a request and what they may do."""

    def __init__(self, settings: ArchiveSettings, policy: TopicPolicy, clock: Clock) -> None:
        self.policy = policy
        self._clock = clock
        named = settings.policy_file
        self._file = Path(named).expanduser() if named else None
        self._users = Users()
        self._seen: object = None
        self._looked = float("-inf")
        self._looking = asyncio.Lock()
        self._scram = Scram(clock)
        self._policy_works = False
        self._policy_asked = float("-inf")

    async def open(self) -> None:
        """Read the users. Raises `SettingError`."""
        if self._file is not None:
            await self._read(self._file)

    async def caller(self, request: web.Request) -> User | None:
        """Return who makes a request, None when it does not say.

        Raises:
            Refused: It says and cannot prove it, or the proof needs a second step (401).
        """
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, rest = header.partition(" ")
        users = await self._present()
        if scheme.lower() == "bearer":
            user = users.with_token(rest.strip())
        elif scheme.upper() == MECHANISM:
            user = self._by_scram(request, rest, users)
        else:
            user = None
        if user is None:
            raise Refused(401, "Authentication failed", _CHALLENGE)
        if user.groups:
            await self.policy.fresh_rule("", 0)  # which topics a group owns is in the policy
        return user

    async def policy_works(self) -> bool:
        """Say whether the topic policy can be learned; it is not asked for more than now and then."""
        now = self._clock.monotonic()
        if now - self._policy_asked >= limits_archive.POLICY_PAUSE_SECONDS:
            self._policy_asked = now
            try:
                await self.policy.refresh()
                self._policy_works = True
            except HeadraceError:
                self._policy_works = False
        return self._policy_works

    def _by_scram(self, request: web.Request, rest: str, users: Users) -> User | None:
        step = self._scram.step(parameters_of(rest), users)
        if isinstance(step, Challenge):
            raise Refused(401, "Authentication required", {"WWW-Authenticate": step.header})
        if step.info:
            request[_INFO] = step.info
        return None if step.name is None else users.named(step.name)

    async def _present(self) -> Users:
        if (
            self._file is not None
            and self._clock.monotonic() - self._looked >= limits_archive.USERS_LOOK_SECONDS
        ):
            async with self._looking:
                try:
                    await self._read(self._file)
                except SettingError as error:
                    log.warning("the users there were stay", reason=str(error))
        return self._users

    async def _read(self, path: Path) -> None:
        self._looked = self._clock.monotonic()
        seen = await asyncio.to_thread(_look, path)
        if seen is not None and seen == self._seen:
            return
        tables = (await asyncio.to_thread(policy_file.read, path)).users
        self._users = parse_users(tables, str(path))
        self._seen = seen


CALLERS = web.AppKey("archive callers", Callers)


def _look(path: Path) -> object:
    """Return what is different when a file has changed."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


async def caller_of(request: web.Request) -> User | None:
    """Return who makes a request; see `Callers.caller`."""
    return await request.app[CALLERS].caller(request)


def check_right(
    request: web.Request, user: User | None, topic: str, right: Literal["read", "write", "owner"]
) -> None:
    """Refuse who lacks a right on a topic.

    Raises:
        Refused: Nobody is authenticated (401), or not somebody who may (403).
    """
    if user is None:
        raise Refused(401, "Authentication required", _CHALLENGE)
    if not access.may(user, topic, right, request.app[CALLERS].policy):
        raise forbidden()


def check_readable(request: web.Request, user: User | None, row: ArchivedRow) -> None:
    """Refuse who may not read a message; raises as `check_right` does."""
    if not row.public:
        check_right(request, user, row.topic, "read")


def check_retraction(request: web.Request, user: User | None, row: ArchivedRow) -> None:
    """Refuse who neither owns the topic of a message nor sent it; raises as `check_right` does."""
    if user is None or user.name != row.sender:
        check_right(request, user, row.topic, "owner")


def forbidden() -> Refused:
    """Make the answer to somebody who may not."""
    return Refused(403, "Operation not permitted")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Give the answer the server's last word of an authentication, whatever became of the request."""
    info = request.get(_INFO)
    if info is not None:
        response.headers["Authentication-Info"] = info
