"""Network coordinates: places in a plane with a height, such that distances are round trips.

Dabek, Cox, Kaashoek and Morris, "Vivaldi: A Decentralized Network Coordinate System" (SIGCOMM 2004). Each box moves
its own place a little with every round trip that it sees, as if springs joined it to the others; the timestep adapts
to how sure both ends are (figure 3). The height is the access link's own share (section 5.4). What is more than the
paper has: no single sample counts, only the median of the last few, and no sample pulls harder than `MOST_PULL_MS`,
so that neither a slow moment nor a liar throws a place far.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from common.words import MOST_COORDINATE_MS, MOST_ROUND_TRIP_MS, Coordinate, distance_ms

# The constants c_e and c_c of figure 3.
ERROR_SHARE = TIMESTEP = 0.25
# A height never vanishes (section 5.4): two places with none would be no distance apart.
LEAST_HEIGHT_MS = 0.1
# Relative errors. A place of which nothing is known has the largest; nobody is ever surer than the smallest.
LEAST_ERROR, MOST_ERROR = 0.02, 1.0
# A place that does not move: the master's, and those that owners typed in.
ANCHOR_ERROR = 0.1
# Being off by less than this is no error: nobody feels it, and on one switch heights alone are more.
GRAIN_MS = 1.0
# A sample moves a place by at most TIMESTEP times this.
MOST_PULL_MS = 100.0
# The median over so many samples stands for a peer; so many peers are remembered, for so long.
SAMPLES, PEERS_KEPT, KEPT_S = 7, 16, 900.0

# Where to look for a person: how often every sighting pulls, and how the timestep shrinks.
_ROUNDS, _LAST_STEP = 80, 0.02
_DIRECTIONS = 6

# Where a box begins, and where the master stays for ever: it keeps the map from drifting.
ORIGIN = Coordinate(height_ms=LEAST_HEIGHT_MS)

Direction = Callable[[], float]


@dataclass(frozen=True)
class Position:
    """A place and its relative error: 0.2 means that distances from here are off by a fifth."""

    place: Coordinate = ORIGIN
    error: float = MOST_ERROR


def moved(own: Position, peer: Position, round_trip_ms: float, direction: Direction) -> Position:
    """The own position after one measured round trip to a peer (figure 3).

    `direction` gives an angle in radians for the case that both are at the same point of the plane. Whatever
    the peer claims, the place moves by at most `TIMESTEP * MOST_PULL_MS`. Raises ValueError for a round trip
    that is none.
    """
    if not 0 < round_trip_ms <= MOST_ROUND_TRIP_MS:
        raise ValueError(f"{round_trip_ms} ms is no round trip")
    mine, theirs = _bounded(own.error), _bounded(peer.error)
    weight = mine / (mine + theirs)
    off_ms = abs(distance_ms(own.place, peer.place) - round_trip_ms)
    sample = min(MOST_ERROR, off_ms / max(round_trip_ms, GRAIN_MS))
    share = ERROR_SHARE * weight
    error = _bounded(sample * share + mine * (1 - share))
    return Position(_pulled(own.place, peer.place, round_trip_ms, TIMESTEP * weight, direction), error)


def _bounded(error: float) -> float:
    return min(max(error, LEAST_ERROR), MOST_ERROR)


def _pulled(
    place: Coordinate, other: Coordinate, round_trip_ms: float, timestep: float, direction: Direction
) -> Coordinate:
    """A place after a spring of rest length `round_trip_ms` to another pulled at it (section 5.4)."""
    away_x, away_y = place.x_ms - other.x_ms, place.y_ms - other.y_ms
    if math.hypot(away_x, away_y) < LEAST_HEIGHT_MS:
        angle = direction()
        away_x, away_y = LEAST_HEIGHT_MS * math.cos(angle), LEAST_HEIGHT_MS * math.sin(angle)
    heights = place.height_ms + other.height_ms
    length = math.hypot(away_x, away_y) + heights
    stretch = round_trip_ms - distance_ms(place, other)
    force = timestep * min(max(stretch, -MOST_PULL_MS), MOST_PULL_MS) / length
    return Coordinate(
        x_ms=_on_the_map(place.x_ms + force * away_x),
        y_ms=_on_the_map(place.y_ms + force * away_y),
        height_ms=_on_the_map(max(LEAST_HEIGHT_MS, place.height_ms + force * heights)),
    )


def _on_the_map(value_ms: float) -> float:
    return min(max(value_ms, -MOST_COORDINATE_MS), MOST_COORDINATE_MS)


class RoundTrips:
    """The last few round trips to each of a few peers; those not measured for longest are forgotten first."""

    def __init__(self) -> None:
        self._samples: OrderedDict[str, deque[float]] = OrderedDict()
        self._at: dict[str, float] = {}

    def note(self, peer: str, round_trip_ms: float, now: float) -> float:
        """Remember a sample; returns the median, which stands for this peer."""
        samples = self._samples.setdefault(peer, deque(maxlen=SAMPLES))
        samples.append(round_trip_ms)
        self._samples.move_to_end(peer)
        self._at[peer] = now
        for old in list(self._samples):
            if len(self._samples) <= PEERS_KEPT and self._at[old] >= now - KEPT_S:
                break
            del self._samples[old], self._at[old]
        return median(samples)

    def count(self, peer: str) -> int:
        """How many samples of a peer are remembered."""
        return len(self._samples.get(peer, ()))

    def medians(self, now: float) -> dict[str, float]:
        """The round trip to each peer that was measured lately, in milliseconds."""
        return {
            peer: median(samples) for peer, samples in self._samples.items() if self._at[peer] >= now - KEPT_S
        }


def locate(sightings: Sequence[tuple[Coordinate, float]]) -> Coordinate | None:
    """Where somebody is who saw these places at these round trips (milliseconds); none without a sighting.

    The springs of all sightings pull until they rest, from several starting points; the place with the least
    squared error wins. The same sightings always give the same place.
    """
    if not sightings:
        return None
    found = [_settled(start, sightings) for start in _starts(sightings)]
    return min(found, key=lambda place: _misfit(place, sightings))


def _starts(sightings: Sequence[tuple[Coordinate, float]]) -> list[Coordinate]:
    """Right behind each place that was seen, and around the one that was nearest."""
    behind = [
        Coordinate(
            x_ms=place.x_ms,
            y_ms=place.y_ms,
            height_ms=max(LEAST_HEIGHT_MS, round_trip_ms - place.height_ms),
        )
        for place, round_trip_ms in sightings
    ]
    nearest, radius = min(sightings, key=lambda item: item[1])
    angles = [2 * math.pi * number / _DIRECTIONS for number in range(_DIRECTIONS)]
    around = [
        Coordinate(
            x_ms=_on_the_map(nearest.x_ms + radius * math.cos(angle)),
            y_ms=_on_the_map(nearest.y_ms + radius * math.sin(angle)),
            height_ms=LEAST_HEIGHT_MS,
        )
        for angle in angles
    ]
    return [*behind, *around]


def _settled(start: Coordinate, sightings: Sequence[tuple[Coordinate, float]]) -> Coordinate:
    best, least = start, _misfit(start, sightings)
    place = start
    for number in range(_ROUNDS):
        timestep = TIMESTEP * (_LAST_STEP / TIMESTEP) ** (number / _ROUNDS)
        for other, round_trip_ms in sightings:
            place = _pulled(place, other, round_trip_ms, timestep, lambda: 0.0)
        if (misfit := _misfit(place, sightings)) < least:
            best, least = place, misfit
    return best


def _misfit(place: Coordinate, sightings: Sequence[tuple[Coordinate, float]]) -> float:
    return sum(
        ((distance_ms(place, other) - round_trip_ms) / (round_trip_ms + GRAIN_MS)) ** 2
        for other, round_trip_ms in sightings
    )
