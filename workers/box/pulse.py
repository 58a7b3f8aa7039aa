"""What the worker of a box last said of itself, in the box's table: its front process tells others."""

from __future__ import annotations

import time
from dataclasses import dataclass

from workers.box.table import Table

_SCHEMA = """CREATE TABLE IF NOT EXISTS pulse (
    one INTEGER PRIMARY KEY, at REAL NOT NULL, redis_problem TEXT NOT NULL)"""


@dataclass(frozen=True)
class Beat:
    """The last beat: its Unix time, and why Redis did not take the status; empty: it did."""

    at: float
    redis_problem: str


class Pulse:
    """The worker beats, the front process looks."""

    def __init__(self, table: Table) -> None:
        self._table = table
        table.create(_SCHEMA)

    def beat(self, redis_problem: str = "") -> None:
        """The worker lives."""
        self._table.write("INSERT OR REPLACE INTO pulse VALUES (1, ?, ?)", (time.time(), redis_problem))

    def last(self) -> Beat | None:
        """The last beat, if there ever was one."""
        row = self._table.one("SELECT at, redis_problem FROM pulse WHERE one = 1")
        return Beat(row["at"], row["redis_problem"]) if row else None
