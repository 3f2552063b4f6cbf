"""`houseutils db_logs` and `kube_logs`: what the database and the archivers in Kubernetes have logged."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from pipeline import limits_archive
from pipeline.archive.archive import Archive
from pipeline.cli.loop import run_loop
from pipeline.errors import NotFound, SettingError, Unavailable
from pipeline.housekeeping import aws
from pipeline.housekeeping.config import Config
from pipeline.housekeeping.opened import OnArchive

LogText = tuple[str, str]
"""Name and text of one log."""
AWS_FILES: Final = 2

_MAY_READ: Final = text(
    "SELECT has_function_privilege('pg_catalog.pg_ls_logdir()', 'execute')"
    " AND has_function_privilege('pg_catalog.pg_read_file(text, bigint, bigint)', 'execute')"
    " AND current_setting('logging_collector') = 'on'"
)
_NEWEST: Final = text(
    "SELECT name, size FROM pg_catalog.pg_ls_logdir() ORDER BY modification DESC, name DESC LIMIT 1"
)
_TEXT: Final = text(
    "SELECT pg_catalog.pg_read_file("
    "pg_catalog.current_setting('log_directory') || '/' || :name, :first, :length)"
)


def database_logs(config: Config, scratch: Path) -> list[LogText]:
    """Give the newest logs of the server: two of RDS, one of a server whose role may read it, else none.

    Of a large log the last megabyte.

    Raises:
        SettingError, NotFound, Unavailable: The server or AWS does not give them.
    """
    if config.text("db-type") == "aws":
        name, region = config.wanted("db-name"), config.region("db-aws-region")
        return run_loop(aws.newest_logs(name, region, AWS_FILES))
    return OnArchive(config, scratch, migrate=False, uses=())(_server_log)


async def _server_log(archive: Archive) -> list[LogText]:
    async def ask(connection: AsyncConnection) -> list[LogText]:
        if not (await connection.execute(_MAY_READ)).scalar_one():
            return []
        newest = (await connection.execute(_NEWEST)).one_or_none()
        if newest is None:
            return []
        first = max(0, newest.size - limits_archive.SERVER_LOG_MAX_BYTES)
        where = {"name": newest.name, "first": first, "length": limits_archive.SERVER_LOG_MAX_BYTES}
        return [(newest.name, (await connection.execute(_TEXT, where)).scalar_one() or "")]

    if archive.database.kind != "postgresql":
        return []
    return await archive.database.read("read the server's log", ask)


def pod_logs(kind: str) -> list[LogText]:
    """Give the log of each pod whose name contains ``housekeeping`` and the kind.

    Raises:
        SettingError: ``kubectl`` is not installed. NotFound: There is no such pod.
        Unavailable: Kubernetes does not answer.
    """
    pods = _kubectl("get", "pods", "--output=name").split()
    chosen = [pod for pod in pods if "housekeeping" in pod and kind in pod]
    if not chosen:
        raise NotFound(
            f"logs of the {kind} archiver", f"none of {len(pods)} pods is called housekeeping and {kind}"
        )
    return [(pod, _kubectl("logs", pod)) for pod in chosen]


def _kubectl(*arguments: str) -> str:
    command: Sequence[str] = ("kubectl", *arguments)
    tried = " ".join(command)
    try:
        done = subprocess.run(  # noqa: S603 - a list of words, no shell; pods are named by Kubernetes
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limits_archive.KUBECTL_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise SettingError(tried, "kubectl is not installed here", "run this where kubectl is") from error
    except subprocess.TimeoutExpired as error:
        why = f"no answer within {limits_archive.KUBECTL_TIMEOUT_SECONDS:g} s"
        raise Unavailable(tried, why, "see whether the cluster can be reached") from error
    if done.returncode:
        raise Unavailable(tried, done.stderr.strip() or f"status {done.returncode}")
    return done.stdout
