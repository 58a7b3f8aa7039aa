"""Where a box is in network space: it measures round trips and moves its coordinate a little with each.

The peers come from the master, signed (`common.peers`); what is measured goes back with the status, and the master
believes a place only as far as the other ends confirm it (`master.nearness.belief`).
"""

from __future__ import annotations

import math
import random
import threading
import time
from dataclasses import dataclass

import redis

from common.errors import Unauthorized, Unavailable
from common.logs import get_logger
from common.names import peers_key
from common.peers import Peer, read_peers
from common.vivaldi import ANCHOR_ERROR, ORIGIN, Position, RoundTrips, moved
from common.words import MOST_ROUND_TRIP_MS, Coordinate
from workers.box.probe import probe
from workers.box.role import BoxContext
from workers.box.seen import SeenRoundTrips

log = get_logger(__name__)

# A new peer is measured so often at once, and each time so much sooner than the pause between two probes.
NEW_PEER_PROBES, HURRY = 4, 10
# The master's Redis among the peers; no box may be named so, for ids begin with a letter or digit.
MASTER = "*"
MASTER_PINGS = 3
_SCHEMA = """CREATE TABLE IF NOT EXISTS place (
    one INTEGER PRIMARY KEY CHECK (one = 1), x_ms REAL, y_ms REAL, height_ms REAL, error REAL)"""


@dataclass(frozen=True)
class NearnessFacts:
    """What the status says of a box's place. No error: the place was typed in."""

    coordinate: Coordinate
    error: float | None
    round_trips_ms: dict[str, float]
    master_ms: float | None


class Nearness:
    """Measures in a thread of its own, a few probes a minute."""

    def __init__(self, context: BoxContext) -> None:
        self._context = context
        self._typed = context.config.coordinate
        self._seen = SeenRoundTrips(context.table)
        context.table.create(_SCHEMA)
        self._position = self._load()
        self._trips = RoundTrips()
        self._tries: dict[str, int] = {}
        self._peers: list[Peer] = []
        self._token = ""
        self._turn = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="nearness", daemon=True)
        # Which way two boxes at one point part is no secret.
        self._dice = random.Random(context.config.box)  # noqa: S311

    def start(self) -> None:
        """Measure from now on, unless the owner wants no probes."""
        if self._context.config.probe_every_s > 0:
            self._thread.start()

    def stop(self) -> None:
        """Measure no more; the place stays where it is."""
        self._stop.set()

    def facts(self) -> NearnessFacts:
        """For the status record."""
        with self._lock:
            trips = self._trips.medians(time.monotonic())
            master_ms = trips.pop(MASTER, None)
            error = None if self._typed is not None else self._position.error
            return NearnessFacts(self._position.place, error, trips, master_ms)

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                self.measure()
            except Exception:
                # Places grow old without this loop; it goes on, and says what went wrong.
                log.exception("round trip not measured")
            self._stop.wait(self._pause_s())

    def _pause_s(self) -> float:
        pause_s = self._context.config.probe_every_s
        new = any(self._tries.get(peer.box, 0) < NEW_PEER_PROBES for peer in self._peers)
        return pause_s / HURRY if new else pause_s

    def measure(self) -> None:
        """Take in what was seen anyway, ping the master, and probe the peer whose turn it is."""
        self._read_peers()
        by_box = {peer.box: peer for peer in self._peers}
        for box, round_trip_ms in self._seen.take().items():
            if (known := by_box.get(box)) is not None:
                self._learn(box, Position(known.coordinate, known.error), round_trip_ms)
        self._ping_master()
        if self._peers:
            self._turn = (self._turn + 1) % len(self._peers)
            self._probe(self._peers[self._turn])
        self._save()

    def _probe(self, peer: Peer) -> None:
        self._tries[peer.box] = self._tries.get(peer.box, 0) + 1
        try:
            round_trip_ms = probe(peer.box, peer.front, self._context.paths.authority)
        except Unavailable as error:
            log.info("peer not reached", peer=peer.box, error=str(error))
            return
        self._learn(peer.box, Position(peer.coordinate, peer.error), round_trip_ms)

    def _ping_master(self) -> None:
        """The shortest of a few: everything else that Redis does makes single ones longer."""
        took_s = []
        try:
            for _ in range(MASTER_PINGS):
                began = time.perf_counter()
                self._context.redis.ping()
                took_s.append(time.perf_counter() - began)
        except redis.RedisError as error:
            log.info("master not reached", error=str(error))
            return
        self._learn(MASTER, Position(ORIGIN, ANCHOR_ERROR), 1000 * min(took_s))

    def _learn(self, peer: str, where: Position, round_trip_ms: float) -> None:
        if not 0 < round_trip_ms <= MOST_ROUND_TRIP_MS:
            return
        with self._lock:
            steady_ms = self._trips.note(peer, round_trip_ms, time.monotonic())
            if self._typed is None:
                angle = 2 * math.pi
                self._position = moved(self._position, where, steady_ms, lambda: self._dice.uniform(0, angle))

    def _read_peers(self) -> None:
        """The list as Redis has it; while Redis is away the last one stays in force."""
        box = self._context.config.box
        try:
            token = str(self._context.redis.get(peers_key(box)) or "")
        except redis.RedisError:
            return
        if token == self._token:
            return
        try:
            peers = read_peers(self._context.verifier, box, token) if token else []
        except Unauthorized as error:
            log.warning("list of peers refused", error=str(error))
            peers = []
        self._token, self._peers = token, [peer for peer in peers if peer.box != box]
        named = {peer.box for peer in self._peers}
        self._tries = {peer: tries for peer, tries in self._tries.items() if peer in named}

    def _load(self) -> Position:
        if self._typed is not None:
            return Position(self._typed, ANCHOR_ERROR)
        row = self._context.table.one("SELECT * FROM place")
        if row is None:
            return Position()
        place = Coordinate(x_ms=row["x_ms"], y_ms=row["y_ms"], height_ms=row["height_ms"])
        return Position(place, row["error"])

    def _save(self) -> None:
        """So that a restart goes on from here."""
        if self._typed is not None:
            return
        place, error = self._position.place, self._position.error
        self._context.table.write(
            "INSERT INTO place VALUES (1, ?, ?, ?, ?) ON CONFLICT (one) DO UPDATE SET x_ms = excluded.x_ms, "
            "y_ms = excluded.y_ms, height_ms = excluded.height_ms, error = excluded.error",
            (place.x_ms, place.y_ms, place.height_ms, error),
        )
