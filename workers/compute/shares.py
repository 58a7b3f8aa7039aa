"""Invitations that their owner has ended; the gateway lets nobody in by them any more."""

from __future__ import annotations

import time
from collections.abc import Iterable

from workers.box.table import Table

_SCHEMA = "CREATE TABLE IF NOT EXISTS ended_shares (share TEXT PRIMARY KEY, instance TEXT NOT NULL, at REAL NOT NULL)"


class EndedShares:
    """The box's own list; an instance's entries go with it."""

    def __init__(self, table: Table) -> None:
        self._table = table
        table.create(_SCHEMA)

    def has(self, share: str) -> bool:
        """Whether this one was ended."""
        return self._table.one("SELECT 1 FROM ended_shares WHERE share = ?", (share,)) is not None

    def end(self, instance: str, shares: Iterable[str]) -> None:
        """Note which were ended; once is for good."""
        for share in shares:
            self._table.write(
                "INSERT OR IGNORE INTO ended_shares VALUES (?, ?, ?)", (share, instance, time.time())
            )

    def forget(self, instance: str) -> None:
        """The instance is over, and its cookies open nothing."""
        self._table.write("DELETE FROM ended_shares WHERE instance = ?", (instance,))
