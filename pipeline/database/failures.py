"""What a database failure means for the caller: try later, make room, give up, or a fault of ours."""

from __future__ import annotations

import sqlite3

import asyncpg
from sqlalchemy import exc

from pipeline.errors import BadInput, Damaged, HeadraceError, SettingError, StorageFull, Unavailable

FAILURES = (exc.SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.Error, OSError)
"""Everything the drivers raise. A time-out is an `OSError` too; its handler must stand before this one."""

_SQLITE_FULL = {sqlite3.SQLITE_FULL}
_SQLITE_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SQLITE_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
}
_PRIMARY_CODE = 0xFF
"""The low byte of SQLite's extended result codes is the primary one."""

_POSTGRES_REFUSED = {"28000", "28P01", "3D000"}
"""Wrong user, wrong password, no such database: waiting will not help."""
_POSTGRES_FULL = {"53100"}
_POSTGRES_PASSING = {"08", "25", "40", "53", "55", "57", "58"}
"""Classes: connection, transaction state (a read-only standby), rollback and deadlock, resources, object
not ready (locks), operator intervention (shutdown, cancel), system."""
_POSTGRES_DATA = {"22", "23"}


def translate(tried: str, error: BaseException) -> HeadraceError | None:
    """Return the error of ours a driver's failure stands for; None when it is a mistake in our own code."""
    cause = _driver_error(error)
    if isinstance(cause, sqlite3.Error):
        return _sqlite(tried, cause)
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        return _postgres(tried, str(state), cause)
    if isinstance(cause, exc.TimeoutError):
        return Unavailable(tried, "all connections are in use", "raise the limit or see what is slow")
    if isinstance(cause, OSError | asyncpg.InterfaceError | exc.InterfaceError):
        return Unavailable(tried, str(cause) or type(cause).__name__, "see whether it is up and reachable")
    if isinstance(error, exc.DBAPIError) and (error.connection_invalidated or _is_interface(cause)):
        return Unavailable(tried, str(cause), "see whether it is up and reachable")
    return None


def _driver_error(error: BaseException) -> BaseException:
    if not isinstance(error, exc.DBAPIError) or error.orig is None:
        return error
    # The asynchronous adapters wrap once more; the driver's own error is then the cause.
    inner = error.orig.__cause__
    return inner if isinstance(inner, asyncpg.PostgresError | asyncpg.InterfaceError) else error.orig


def _is_interface(cause: BaseException) -> bool:
    return type(cause).__name__ == "InterfaceError"


def _sqlite(tried: str, error: sqlite3.Error) -> HeadraceError | None:
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code in _SQLITE_FULL:
        return StorageFull(tried, str(error), "free space on its disk")
    if code in _SQLITE_DAMAGED:
        return Damaged(tried, str(error), "restore the file from a backup, or rebuild it from the log")
    if code in _SQLITE_PASSING:
        return Unavailable(tried, str(error), "see who holds the file and whether it can be written")
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):
        return BadInput(tried, str(error))
    return None


def _postgres(tried: str, state: str, error: BaseException) -> HeadraceError | None:
    if state in _POSTGRES_REFUSED:
        return SettingError(tried, str(error), "correct the user, password or name in the setting")
    if state in _POSTGRES_FULL:
        return StorageFull(tried, str(error), "free space on the server's disk")
    if state[:2] in _POSTGRES_PASSING:
        return Unavailable(tried, str(error), "see whether it is up, writable and has free connections")
    if state[:2] in _POSTGRES_DATA:
        return BadInput(tried, str(error))
    return None
