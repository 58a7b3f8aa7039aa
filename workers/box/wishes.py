"""The box's copy of what it is to do: read from Redis, checked, and kept on disk."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from common.errors import Unauthorized
from common.logs import get_logger
from common.names import EPOCH, EPOCH_READY, wish_key
from common.signing import Verifier
from common.wishes import Wish, read_wish, wish_field
from common.words import Role
from workers.box.stored_wishes import StoredWishes
from workers.box.table import Table

log = get_logger(__name__)


class WishList(StoredWishes):
    """Wishes by (role, subject); the newest that the master ever signed for this box."""

    def __init__(self, box: str, table: Table, client: redis.Redis, verifier: Verifier) -> None:
        super().__init__(box, table, verifier)
        self._redis = client

    def current(self, role: Role, subject: str) -> Wish | None:
        """The wish in force, as Redis has it if Redis answers, else as the disk has it.

        A lease that has ended turns the wish into its undoing.
        """
        field = wish_field(role, subject)
        try:
            token = self._redis.hget(wish_key(self._box), field)
        except redis.RedisError:
            token = None
        if isinstance(token, str):
            self._keep(field, token)
        return self._stored(field)

    def is_stale(self, wish: Wish) -> bool:
        """Whether a newer wish for the subject has come, or this one is gone: stop what you are doing."""
        now = self.current(Role(wish.role), wish.subject)
        return now is None or now.order != wish.order or now.wanted != wish.wanted

    def refresh(self) -> set[str]:
        """Read the whole list from Redis; returns the fields that the master no longer lists.

        Absence counts only while the master vouches for the list (`fleet:ready` equals `fleet:epoch`), so
        that a wiped Redis stops nothing. Raises redis.RedisError when Redis cannot be read.
        """
        before = self._ready_epoch()
        tokens = self._redis.hgetall(wish_key(self._box))
        for field, token in tokens.items():
            self._keep(str(field), str(token))
        if before is None or self._ready_epoch() != before:
            return set()
        return {row["field"] for row in self._table.all("SELECT field FROM wishes")} - set(tokens)

    def forget(self, field: str) -> None:
        """Drop a wish whose undoing is complete."""
        self._table.write("DELETE FROM wishes WHERE field = ?", (field,))
        self._parsed.pop(field, None)

    def all(self) -> Iterator[Wish]:
        """Every wish in force."""
        for row in self._table.all("SELECT field FROM wishes ORDER BY field"):
            wish = self._stored(row["field"])
            if wish is not None:
                yield wish

    def _ready_epoch(self) -> str | None:
        epoch, ready = self._redis.mget(EPOCH, EPOCH_READY)
        return str(epoch) if epoch is not None and epoch == ready else None

    def _keep(self, field: str, token: str) -> None:
        known = self._parsed.get(field)
        if known is not None and known[0] == token:
            return
        try:
            wish = read_wish(self._verifier, self._box, token)
        except Unauthorized as error:
            log.warning("wish refused", field=field, error=str(error))
            return
        if wish_field(wish.role, wish.subject) != field:
            log.warning("wish refused", field=field, error="it was signed for another subject")
            return
        self._table.write(
            "INSERT INTO wishes VALUES (?, ?, ?, ?) ON CONFLICT (field) DO UPDATE SET "
            "generation = excluded.generation, version = excluded.version, token = excluded.token "
            "WHERE (excluded.generation, excluded.version) > (generation, version)",
            (field, wish.generation, wish.version, token),
        )
