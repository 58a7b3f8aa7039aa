"""The lent space of a box as its roles measure it, and what the box says when too little of it is left.

Roles know their own part only; the box's table brings the parts together, so that the box can clean up by itself
while neither master nor Redis answers.
"""

from __future__ import annotations

from collections.abc import Callable

from common.logs import get_logger
from common.status import DiskUse
from workers.box import capacity
from workers.box.config import BoxConfig
from workers.box.table import Table

log = get_logger(__name__)

ENGINE, FILESETS = "engine", "filesets"
# A box that lends little would be full before it held anything if a fixed amount had to stay free.
MOST_KEPT_FREE = 0.25

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS lent_space (part TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS alerts (one INTEGER PRIMARY KEY, message TEXT NOT NULL)",
)


class LentSpace:
    """One box's lent space; several threads and processes may use it."""

    def __init__(self, config: BoxConfig, table: Table) -> None:
        self._config = config
        self._table = table
        table.create(*_SCHEMA)

    @property
    def lent_bytes(self) -> int:
        """What is lent and there."""
        return capacity.lent_disk(self._config)

    @property
    def keep_free_bytes(self) -> int:
        """How much of it is to be free: the setting `free_bytes`, but at most a quarter of what is lent."""
        return min(self._config.free_bytes, round(self.lent_bytes * MOST_KEPT_FREE))

    def note(self, part: str, size_bytes: int) -> None:
        """What a part takes now."""
        if self._part(part) != size_bytes:
            self._table.write("INSERT OR REPLACE INTO lent_space VALUES (?, ?)", (part, size_bytes))

    def measure(self, part: str, measured: Callable[[], int]) -> int:
        """Note what `measured` finds; nobody writes to the box's table meanwhile, so that nothing is missed."""
        with self._table.transaction():
            size_bytes = measured()
            self.note(part, size_bytes)
        return size_bytes

    def use(self, blobs_bytes: int) -> DiskUse:
        """How the space is used now."""
        return DiskUse(
            lent_bytes=self.lent_bytes,
            blobs_bytes=blobs_bytes,
            engine_bytes=self._part(ENGINE),
            filesets_bytes=self._part(FILESETS),
        )

    def _part(self, part: str) -> int:
        row = self._table.one("SELECT size_bytes FROM lent_space WHERE part = ?", (part,))
        return int(row["size_bytes"]) if row else 0

    def alert(self) -> str:
        """Why the box takes nothing new; empty: it does."""
        row = self._table.one("SELECT message FROM alerts WHERE one = 1")
        return str(row["message"]) if row else ""

    def raise_alert(self, message: str) -> None:
        """Say (or, with an empty message, take back) that too little is free. Logged when it changes."""
        before = self.alert()
        if bool(message) == bool(before):
            if message != before:
                self._write(message)
            return
        self._write(message)
        if message:
            log.warning("box closed: too little of the lent space is free", reason=message)
        else:
            log.info("box open again: enough of the lent space is free")

    def _write(self, message: str) -> None:
        self._table.write("INSERT OR REPLACE INTO alerts VALUES (1, ?)", (message,))
