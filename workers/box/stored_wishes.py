"""What the disk has of the box's wishes, for processes of the box that only read them and are to stay small."""

from __future__ import annotations

import time

from common.signing import Verifier
from common.wishes import Wish, read_wish, wish_field
from common.words import Role
from workers.box.table import Table

_SCHEMA = """CREATE TABLE IF NOT EXISTS wishes (
    field TEXT PRIMARY KEY, generation INTEGER NOT NULL, version INTEGER NOT NULL, token TEXT NOT NULL)"""


class StoredWishes:
    """What the disk has of them, for processes of the box that only read."""

    def __init__(self, box: str, table: Table, verifier: Verifier) -> None:
        self._box = box
        self._table = table
        self._verifier = verifier
        self._parsed: dict[str, tuple[str, Wish]] = {}
        table.create(_SCHEMA)

    def stored(self, role: Role, subject: str) -> Wish | None:
        """The wish in force. A lease that has ended turns it into its undoing."""
        return self._stored(wish_field(role, subject))

    def _stored(self, field: str) -> Wish | None:
        row = self._table.one("SELECT token FROM wishes WHERE field = ?", (field,))
        if row is None:
            return None
        known = self._parsed.get(field)
        if known is None or known[0] != row["token"]:
            known = (row["token"], read_wish(self._verifier, self._box, row["token"]))
            self._parsed[field] = known
        wish = known[1]
        if wish.lease_end is not None and wish.lease_end < time.time():
            return wish.undone()
        return wish
