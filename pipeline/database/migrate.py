"""Bring the tables of a database up to date with Alembic, in this process and in one transaction.

Steps stand in `pipeline/database/migrations`, are numbered, and those done are recorded in the table
`headrace_migrations`. Either all of them are done or none: a crash in between leaves the database as
it was. Only one process at a time gets to look.
"""

from __future__ import annotations

from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from pipeline.database.versions import MIGRATIONS, VERSION_TABLE
from pipeline.errors import Conflict

_LOCK = 0x68656164_72616365
"""Key of the advisory lock: the project's name in ASCII."""


class Steps:
    """The migrations of this release, read from their files by `load`."""

    def __init__(self, script: ScriptDirectory) -> None:
        self._script = script
        (self.head,) = script.get_heads()

    def apply(self, connection: Connection, schema: str | None = None) -> None:
        """Do what is missing, in the transaction `connection` is in.

        On SQLite that transaction must be exclusive already; on PostgreSQL a lock is taken here and held
        until it ends.

        Raises:
            Conflict: The tables are of a newer release.
        """
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            if schema is not None:
                connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
        context = MigrationContext.configure(
            connection,
            opts={"fn": self._missing, "version_table": VERSION_TABLE, "transactional_ddl": True},
        )
        with Operations.context(context):
            context.run_migrations()

    def _missing(self, current: tuple[str, ...], context: MigrationContext) -> list[RevisionStep]:
        del context
        known = {revision.revision for revision in self._script.walk_revisions()}
        if not known.issuperset(current):
            raise Conflict(
                "migrate the database",
                f"its tables are at step {', '.join(current)}, this release knows up to {self.head}",
                "run the newer release of Headrace",
            )
        return self._script._upgrade_revs(self.head, current)  # type: ignore[arg-type]  # noqa: SLF001


def load() -> Steps:
    """Read the migrations from their files; call it in a thread."""
    config = Config()
    folder = str(MIGRATIONS).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("version_locations", folder)
    config.set_main_option("path_separator", "newline")
    return Steps(ScriptDirectory.from_config(config))
