"""Engines and sessions. SQLite in WAL mode with immediate transactions, or PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from common.errors import Unavailable


def make_engine(url: str, *, busy_timeout_s: float = 5.0) -> Engine:
    """An engine for a database URL; the folder of an SQLite file is made."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": busy_timeout_s, "check_same_thread": False})
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _: Any) -> None:
    # The driver must not open transactions by itself: see _on_begin.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Any) -> None:
    # A read that later writes would fail with "database is locked" at once; taking the write lock first waits.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def _writes(connection: Any) -> bool:
    return not connection.get_execution_options().get("openraas_read_only", False)


class Database:
    """Sessions over one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        self._readers = sessionmaker(
            engine.execution_options(openraas_read_only=True), expire_on_commit=False, autoflush=False
        )

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back on any error, then what was put off runs.

        What must not happen before the commit (a message, an event) is given to `after_commit`.
        """
        with self._sessions() as session:
            try:
                with session.begin():
                    yield session
            except OperationalError as error:
                raise Unavailable("The database does not answer.", remedy="Try again in a moment.") from error
            for action in session.info.pop("after_commit", []):
                action()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that only reads, and never waits for writers."""
        with self._readers() as session:
            try:
                yield session
            except OperationalError as error:
                raise Unavailable("The database does not answer.", remedy="Try again in a moment.") from error


def after_commit(session: Session, action: Callable[[], None]) -> None:
    """Run `action` once this session's transaction is committed: SQL first, queue second.

    What it logs carries what is bound now.
    """
    session.info.setdefault("after_commit", []).append(partial(copy_context().run, action))
