"""Errors as the clients of the archive know them: ``{"message": …}`` (archive contract, section 17.1)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from pipeline.errors import HeadraceError
from pipeline.web.answers import answer

PATH = "/api/archive/"


class ArchiveProblem(msgspec.Struct, frozen=True):
    """The body of every error answer of the archive."""

    message: str


class Refused(HeadraceError):
    """An answer the contract names for a request that is not fulfilled."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__("use the archive", message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def read_only() -> Refused:
    """Make the answer of an archive that takes nothing."""
    return Refused(501, "This archive is read-only")


def asked(request: web.Request) -> bool:
    """Say whether a request is for the archive, whose clients expect these answers."""
    return request.path.startswith(PATH)


def refusal(error: HeadraceError, status: int) -> web.Response:
    """Answer an error that has something to say."""
    if isinstance(error, Refused):
        return problem(error.status, error.message, error.headers)
    return problem(status, str(error))


def problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Make an error answer."""
    return answer(ArchiveProblem(message), status=status, headers=dict(headers or {}))


def routing(error: web.HTTPException) -> web.Response:
    """Answer what the router decided: there is no such path, or not with this method."""
    allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return problem(error.status, error.reason, allowed)
