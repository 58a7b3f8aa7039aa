"""Draws the map from what boxes say, and tells each box whom to measure. The reconciler calls it."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

from common.addresses import is_loopback
from common.names import SURVEY_LOCK, peers_key
from common.peers import Peer, sign_peers
from common.status import BoxStatus
from common.vivaldi import MOST_ERROR, Position
from common.words import Coordinate, Endpoint
from master.boxes.services import statuses
from master.context import MasterContext
from master.nearness.belief import believed
from master.nearness.fronts import measurable_fronts
from master.nearness.map import read_map, write_map
from master.nearness.pairing import pairs
from master.scheduler.changes import tell

# Boxes wander by fractions of this all the time; schedulers are told of more.
MOVED_MS = 0.5
# The half of the peers that are anywhere are others after this.
PAIRS_KEPT_S = 600.0


class Surveyor:
    """One per lifecycle process; a key in Redis keeps them from surveying more often than once in a while."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context
        self._redis = context.redis

    def run(self) -> bool:
        """One round if it is time; returns whether it was. Raises redis.RedisError."""
        pause_ms = round(1000 * self._context.settings.survey_every_s)
        if not self._redis.set(SURVEY_LOCK, "1", nx=True, px=max(1, pause_ms)):
            return False
        known = statuses(self._redis)
        places = believed(known)
        before = read_map(self._redis).places
        write_map(self._redis, places)
        tell(self._redis, _moved(before, places))
        self._tell_peers(known, places)
        return True

    def _tell_peers(self, known: Mapping[str, BoxStatus], places: Mapping[str, Position]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        with self._context.database.read() as session:
            fronts = measurable_fronts(session, known)
        for group in _reaching_each_other(fronts):
            spots = {box: places[box].place if box in places else known[box].coordinate for box in group}
            for box, peers in pairs(spots, _chance(time.time())).items():
                listed = [_peer(known[peer], fronts[peer], places) for peer in peers]
                pipe.set(peers_key(box), sign_peers(self._context.signer, box, listed))
        pipe.execute()


def _moved(before: Mapping[str, Position], after: Mapping[str, Position]) -> list[str]:
    """The boxes that came to the map, left it, or lie elsewhere on it."""
    stayed = {box for box in before.keys() & after.keys() if _is_close(before[box].place, after[box].place)}
    return sorted((before.keys() | after.keys()) - stayed)


def _is_close(one: Coordinate, other: Coordinate) -> bool:
    pairs_ms = zip(one.model_dump().values(), other.model_dump().values(), strict=True)
    return all(abs(first - second) <= MOVED_MS for first, second in pairs_ms)


def _chance(now: float) -> random.Random:
    """The same for a while: a peer is worth more when it is measured several times."""
    return random.Random(int(now // PAIRS_KEPT_S))  # noqa: S311 - which boxes meet is no secret


def _reaching_each_other(fronts: Mapping[str, Endpoint]) -> list[list[str]]:
    """Boxes on the master's own loopback, and all others: 127.0.0.1 of one machine is not that of another."""
    local = [box for box, front in fronts.items() if is_loopback(front.host)]
    return [local, [box for box in fronts if box not in set(local)]]


def _peer(status: BoxStatus, front: Endpoint, places: Mapping[str, Position]) -> Peer:
    """How a box is told of another: with the place that is believed, else with its own word and no trust in it."""
    spot = places.get(status.box, Position(status.coordinate, MOST_ERROR))
    return Peer(box=status.box, front=front, coordinate=spot.place, error=spot.error)
