"""What the master lets this box drop: the list in `spare:<box>` (see `common.spares`)."""

from __future__ import annotations

from redis.exceptions import RedisError

from common.errors import Unauthorized
from common.logs import get_logger
from common.names import spare_key
from common.spares import read_spares
from workers.box.role import BoxContext

log = get_logger(__name__)


class Permits:
    """Reads the list anew each time; while Redis is away the last one stays in force.

    That is safe: on no list stands what would leave the fleet without a copy, and lists are not widened while
    nobody writes them.
    """

    def __init__(self, context: BoxContext) -> None:
        self._context = context
        self._token = ""
        self._spare: frozenset[str] = frozenset()

    def spare(self) -> frozenset[str]:
        """The blobs that may go."""
        box = self._context.config.box
        try:
            token = str(self._context.redis.get(spare_key(box)) or "")
        except RedisError:
            return self._spare
        if token != self._token:
            try:
                self._spare = read_spares(self._context.verifier, box, token) if token else frozenset()
            except Unauthorized as error:
                log.warning("list of spare layers refused", error=str(error))
                self._spare = frozenset()
            self._token = token
        return self._spare
