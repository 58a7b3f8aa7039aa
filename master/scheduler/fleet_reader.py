"""Reads the fleet from Redis: statuses and reservations anew, layer sets only when a box says they changed."""

from __future__ import annotations

import time
from collections.abc import Iterable

import redis

from common.names import BOXES, PLACES, layers_key, reserved_key, status_key
from common.status import BoxStatus
from master.boxes.services import read_status
from master.nearness.map import parse_map
from master.scheduler.reservations import Reservation, total
from master.scheduling.fleet import BoxFacts, Fleet


class FleetReader:
    """One per scheduler process; remembers the layers that each box holds."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._layers: dict[str, tuple[str, int, frozenset[str]]] = {}

    def read(self, cordoned: Iterable[str] = ()) -> Fleet:
        """The fleet now: boxes with a live status. Raises redis.RedisError."""
        names = sorted(str(name) for name in self._redis.smembers(BOXES))
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.get(status_key(name))
            pipe.hgetall(reserved_key(name))
        pipe.hgetall(PLACES)
        *answers, places = pipe.execute()
        whereabouts = parse_map(places)
        now = time.time()
        held_back = set(cordoned)
        facts = []
        for row, name in enumerate(names):
            status = read_status(name, answers[2 * row])
            if status is None:
                continue
            taken = [Reservation.from_json(name, key, text) for key, text in answers[2 * row + 1].items()]
            status = whereabouts.located(status)
            facts.append(BoxFacts(status, total(taken, now), self._held(status), name in held_back))
        return Fleet.build(facts)

    def _held(self, status: BoxStatus) -> frozenset[str]:
        known = self._layers.get(status.box)
        if known is None or known[:2] != (status.epoch, status.layers_sequence):
            members = frozenset(str(digest) for digest in self._redis.smembers(layers_key(status.box)))
            known = (status.epoch, status.layers_sequence, members)
            self._layers[status.box] = known
        return known[2]
