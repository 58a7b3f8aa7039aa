"""Who holds which layers, as the boxes say; sets are read again only when a box says that its own changed."""

from __future__ import annotations

from collections.abc import Mapping

import redis

from common.names import layers_key
from common.status import BoxStatus


class Census:
    """Remembers the layers of each box between rounds."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._known: dict[str, tuple[str, str, int, frozenset[str]]] = {}

    def take(self, statuses: Mapping[str, BoxStatus]) -> dict[str, frozenset[str]]:
        """The blobs of every box that is up. Raises redis.RedisError."""
        self._known = {box: known for box, known in self._known.items() if box in statuses}
        for box, status in statuses.items():
            mark = (status.epoch, status.redis_epoch, status.layers_sequence)
            if box not in self._known or self._known[box][:3] != mark:
                members = frozenset(str(digest) for digest in self._redis.smembers(layers_key(box)))
                self._known[box] = (*mark, members)
        return {box: known[3] for box, known in self._known.items()}
