"""Brings a database to the tables of this version, forward or back.

`python -m master.db.migrate MESSAGE` writes the migration that leads from the checked-in ones to the models.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from common.errors import Conflict, Unavailable
from master.db.models import Base
from master.db.session import make_engine

_SCRIPTS = Path(__file__).parent / "migrations"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    """A transaction in which SQLite tables may be copied without their references being checked half-way."""
    with engine.connect() as connection:
        is_sqlite = engine.dialect.name == "sqlite"
        if is_sqlite:
            _pragma(connection, "OFF")
        try:
            with connection.begin():
                yield connection
        finally:
            if is_sqlite:
                _pragma(connection, "ON")


def _pragma(connection: Connection, value: str) -> None:
    # Inside a transaction this pragma does nothing, and SQLAlchemy would begin one.
    driver = connection.connection.dbapi_connection
    if driver is not None:
        driver.execute(f"PRAGMA foreign_keys={value}")


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database up; quick when it is up already.

    Raises Unavailable if the database does not answer, Conflict if a newer version of OpenRaaS wrote it.
    """
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        scripts = ScriptDirectory.from_config(_config())
        if revision == "head" and current == scripts.get_current_head():
            return
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise Conflict(
                f"The database is at revision {current}, which this version does not know.",
                remedy="Start the version of OpenRaaS that wrote it, or a newer one.",
            )
        with _connected(engine) as connection:
            command.upgrade(_config(connection), revision)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise Unavailable(
            f"The database {engine.url!r} cannot be prepared: {reason}.",
            remedy="See that it runs and that OPENRAAS_DATABASE_URL is right.",
        ) from error


def downgrade(engine: Engine, revision: str = "base") -> None:
    """Bring the database back to an older revision; `base` removes all tables."""
    with _connected(engine) as connection:
        command.downgrade(_config(connection), revision)


def differences(engine: Engine) -> list[object]:
    """What the models have and the database has not, or the other way round."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))


def write_migration(message: str) -> None:
    """Write a new migration script by comparing the models with all migrations so far."""
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(f"sqlite:///{folder}/empty.db")
        upgrade(engine)
        with _connected(engine) as connection:
            config = _config(connection)
            count = sum(1 for _ in ScriptDirectory.from_config(config).walk_revisions())
            command.revision(config, message=message, autogenerate=True, rev_id=f"{count + 1:04d}")
        engine.dispose()


if __name__ == "__main__":
    write_migration(" ".join(sys.argv[1:]) or "Changes of the models")
