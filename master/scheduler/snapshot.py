"""The scheduler's own picture of the fleet, kept current from the stream of changes.

Read anew in full when the stream has a gap, when Redis has a new epoch, and every `fleet_resync_s` in any case.
It may be wrong at any moment: the script that reserves decides, and whoever loses looks again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import redis
from sqlalchemy import select

from common.logs import get_logger
from common.names import BOXES, layers_key, status_key
from common.status import BoxStatus
from common.words import Resources
from master.boxes.models import Box
from master.boxes.services import read_status
from master.db.session import Database
from master.scheduler.changes import BEGINNING, position, read_since
from master.scheduler.reservations import queue_sums, read_sums
from master.scheduling.facts import BoxFacts, facts_of
from master.scheduling.fleet import Fleet, amounts_of

log = get_logger(__name__)

# Reading everything anew may take this part of the time, however large the fleet is.
RENEWING_SHARE = 0.05


class Snapshot:
    """One per scheduler process; not for several threads at once."""

    def __init__(self, client: redis.Redis, database: Database, *, resync_s: float) -> None:
        self._redis = client
        self._database = database
        self._resync_s = resync_s
        self._fleet = Fleet()
        self._facts: dict[str, BoxFacts] = {}
        self._layers: dict[str, tuple[tuple[str, str, int], frozenset[str]]] = {}
        self._cordoned: frozenset[str] = frozenset()
        self._last, self._epoch = BEGINNING, ""
        self._suspects: set[str] = set()
        self._renewed_at, self._took_s = float("-inf"), 0.0
        # Grows whenever somebody who found no room before may find some now.
        self.roomier = 0

    @property
    def fleet(self) -> Fleet:
        """As it was read last, with what was reserved in it since."""
        return self._fleet

    def update(self) -> bool:
        """Take in what changed; returns whether anything did. Raises redis.RedisError."""
        if time.monotonic() - self._renewed_at > self._resync_s:
            return self._renew()
        changes = read_since(self._redis, self._last, self._epoch)
        if changes.gap:
            log.info("fleet read anew", why="the stream of changes has a gap")
            return self._renew()
        self._last = changes.last
        for box, held in changes.held.items():
            if box in self._facts:
                self._put(replace(self._facts[box], reserved=held))
        boxes, self._suspects = changes.boxes | self._suspects, set()
        if boxes:
            self._read_cordons()
            self._read(boxes)
        return bool(boxes or changes.held)

    def look_again(self) -> bool:
        """Before somebody is refused: read everything anew, unless that was done a moment ago."""
        pause = self._took_s / RENEWING_SHARE
        return self._renew() if time.monotonic() - self._renewed_at > pause else self.update()

    def suspect(self, box: str) -> None:
        """What is known of this box proved wrong: read it anew with the next update."""
        self._suspects.add(box)

    def distrust(self) -> None:
        """What is known of the fleet may be wrong: read it anew with the next update."""
        self._renewed_at = float("-inf")

    def _renew(self) -> bool:
        began = time.monotonic()
        # First the position: what changes while the fleet is read is read twice, never missed.
        self._last, self._epoch = position(self._redis)
        boxes = {str(name) for name in self._redis.smembers(BOXES)}
        self._read_cordons()
        for box in self._facts.keys() - boxes:
            self._leave(box)
        self._read(boxes)
        self._suspects = set()
        self._renewed_at = time.monotonic()
        self._took_s = self._renewed_at - began
        return True

    def _read_cordons(self) -> None:
        with self._database.read() as session:
            self._cordoned = frozenset(session.scalars(select(Box.id).where(Box.cordoned)))

    def _read(self, boxes: Iterable[str]) -> None:
        """Status, reservations and, where they changed, layers of these boxes."""
        names = sorted(boxes)
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.get(status_key(name))
                queue_sums(pipe, name)
            answers = pipe.execute()
        found: list[tuple[BoxStatus, Resources]] = []
        for row, name in enumerate(names):
            status = read_status(name, answers[2 * row])
            if status is None:
                self._leave(name)
            else:
                found.append((status, read_sums(answers[2 * row + 1])))
        self._read_layers([status for status, _ in found])
        for status, held in found:
            layers = self._layers[status.box][1]
            self._put(facts_of(status, held, layers, cordoned=status.box in self._cordoned))

    def _put(self, facts: BoxFacts) -> None:
        """What a box is now; only what differs costs anything."""
        before = self._facts.get(facts.name)
        row = self._fleet.row_of.get(facts.name)
        self._facts[facts.name] = facts
        if before is None or row is None or replace(before, reserved=facts.reserved) != facts:
            self._fleet.put(facts)
            self.roomier += 1
        else:
            # Also where the sums are as before: what was reserved here in the meantime, and lost, is undone.
            self._fleet.set_reserved(row, amounts_of(facts.reserved))
            self.roomier += not before.reserved.fits(facts.reserved)

    def _read_layers(self, statuses: list[BoxStatus]) -> None:
        changed = [
            status
            for status in statuses
            if status.box not in self._layers or self._layers[status.box][0] != _mark(status)
        ]
        with self._redis.pipeline(transaction=False) as pipe:
            for status in changed:
                pipe.smembers(layers_key(status.box))
            answers = pipe.execute()
        for status, members in zip(changed, answers, strict=True):
            digests = frozenset(str(digest) for digest in members)
            self._layers[status.box] = (_mark(status), digests)

    def _leave(self, box: str) -> None:
        """It is silent, or removed: nobody is placed there."""
        if self._facts.pop(box, None) is not None:
            self._fleet.leave(self._fleet.row_of[box])


def _mark(status: BoxStatus) -> tuple[str, str, int]:
    """Differs whenever the box's set of layers may."""
    return (status.epoch, status.redis_epoch, status.layers_sequence)
