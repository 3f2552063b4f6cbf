"""`houseutils connect`: the SQL shell of the database a configuration names takes this command's place."""

from __future__ import annotations

import os
from typing import NoReturn

from pipeline.cli.loop import run_loop
from pipeline.errors import SettingError
from pipeline.housekeeping.config import Config
from pipeline.housekeeping.database import DatabaseAddress, address


def connect(config: Config) -> NoReturn:
    """Become ``psql``, or ``sqlite3`` for a file; the password goes by the environment and is not shown.

    Raises:
        SettingError: The database is a mock, or the shell is not installed.
        NotFound, Unavailable: As AWS answers.
    """
    found = run_loop(address(config))
    if found is not None:
        _become("psql", [], _environment(found))
    if config.text("db-type") == "sqlite" and config.text("db-path"):
        _become("sqlite3", [os.path.expanduser(config.text("db-path"))], dict(os.environ))  # noqa: PTH111 - text is wanted
    raise SettingError(
        "connect to the database", "a mock has no server to connect to", "choose one with -D"
    )


def _environment(found: DatabaseAddress) -> dict[str, str]:
    """Say in libpq's variables where to connect; those the user has set otherwise do not count."""
    named = {
        "PGHOST": found.host,
        "PGPORT": str(found.port),
        "PGUSER": found.username,
        "PGPASSWORD": found.password,
        "PGDATABASE": found.database,
        "PGOPTIONS": f"-c search_path={found.schema}" if found.schema else "",
    }
    return {**os.environ, **{name: value for name, value in named.items() if value}}


def _become(program: str, arguments: list[str], environment: dict[str, str]) -> NoReturn:
    try:
        os.execvpe(program, [program, *arguments], environment)  # noqa: S606 - no shell is wanted
    except OSError as error:
        todo = "install it, or connect with another client"
        raise SettingError(f"start {program}", error.strerror or str(error), todo) from error
