"""The box's own table: facts that survive a restart of the worker, in SQLite from the standard library.

Several threads and processes of one box share it. Each role creates its own tables (`create`).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Table:
    """One SQLite file, one connection per thread."""

    def __init__(self, path: Path, *, busy_timeout_s: float = 5.0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._local = threading.local()

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self._path, timeout=self._busy_timeout_s, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            self._local.connection = connection
        return connection

    def create(self, *statements: str) -> None:
        """Run `CREATE … IF NOT EXISTS` statements."""
        for statement in statements:
            self._connection.execute(statement)

    def add_column(self, table: str, column: str, kind: str) -> None:
        """Give a table that an earlier version made a column that it lacks. The names are literals, never input."""
        names = {row["name"] for row in self._connection.execute(f"PRAGMA table_info({table})")}
        if column not in names:
            with contextlib.suppress(sqlite3.OperationalError):  # another process was faster
                self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        return self._connection.execute(sql, values).fetchall()

    def one(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """The first row of a query, if any."""
        row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
        return row

    def write(self, sql: str, values: Sequence[Any] = ()) -> int:
        """One statement of its own; returns how many rows it touched."""
        return self._connection.execute(sql, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Several statements that hold together; rolled back on any error. One within another is part of it."""
        connection = self._connection
        begin, undo, end = (
            ("SAVEPOINT inner", ("ROLLBACK TO inner", "RELEASE inner"), "RELEASE inner")
            if connection.in_transaction
            else ("BEGIN IMMEDIATE", ("ROLLBACK",), "COMMIT")
        )
        connection.execute(begin)
        try:
            yield connection
        except BaseException:
            for statement in undo:
                connection.execute(statement)
            raise
        connection.execute(end)
