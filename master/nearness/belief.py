"""Which places of boxes the master believes. Pure.

A box says where it is and what it measured, and may lie about both. What it cannot do is make others measure a
shorter way to it. So a round trip counts only if both ends measured it and agree, with what the longer one saw; a box
counts as measured only while most of those that measured it agree with it; and a place that is nearer to the others
than they confirm is moved away, by what is missing at the middle one of them. One box alone deceives nobody; boxes of
one owner that confirm each other count as soon as they are more than half of a box's peers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import fmean, median

from common.status import BoxStatus
from common.vivaldi import ANCHOR_ERROR, Position
from common.words import MOST_COORDINATE_MS, Coordinate, distance_ms

# Two measured the same if the longer one is not more than this factor, and some, above the shorter one.
AGREE_FACTOR, AGREE_MS = 2.0, 3.0
# How much too near a place may seem by the error of the map itself.
TOLERANCE, TOLERANCE_MS = 0.3, 2.0
# So many have to contradict a place that its owner typed in, if the box itself confirms nobody.
WITNESSES = 3


def believed(statuses: Mapping[str, BoxStatus]) -> dict[str, Position]:
    """The places that count; a box without one has not been measured, or is contradicted by most."""
    seen_by: dict[str, dict[str, float]] = defaultdict(dict)
    for box, status in statuses.items():
        for other, round_trip_ms in status.round_trips_ms.items():
            if other != box and other in statuses:
                seen_by[other][box] = round_trip_ms
    found = {}
    for box, status in statuses.items():
        if (place := _believed(status, seen_by[box], statuses)) is not None:
            error = ANCHOR_ERROR if status.coordinate_error is None else status.coordinate_error
            found[box] = Position(place, error)
    return found


def _believed(
    status: BoxStatus, seen: Mapping[str, float], statuses: Mapping[str, BoxStatus]
) -> Coordinate | None:
    own = status.round_trips_ms
    confirmed = {
        other: max(own[other], theirs)
        for other, theirs in seen.items()
        if other in own and agree(own[other], theirs)
    }
    typed = status.coordinate_error is None
    if not typed and (not confirmed or 2 * len(confirmed) < len(seen)):
        return None
    counted = confirmed or (seen if len(seen) >= WITNESSES else {})
    return _moved_away(status.coordinate, [(statuses[other].coordinate, ms) for other, ms in counted.items()])


def agree(one_ms: float, other_ms: float) -> bool:
    """Whether two ends of a pair tell the same round trip."""
    return max(one_ms, other_ms) <= AGREE_FACTOR * min(one_ms, other_ms) + AGREE_MS


def _moved_away(place: Coordinate, witnesses: list[tuple[Coordinate, float]]) -> Coordinate:
    """The place with as much more height as the middle witness misses."""
    if not witnesses:
        return place
    missing = median(
        ms - distance_ms(place, there) - (TOLERANCE * ms + TOLERANCE_MS) for there, ms in witnesses
    )
    if missing <= 0:
        return place
    return place.model_copy(update={"height_ms": min(place.height_ms + missing, MOST_COORDINATE_MS)})


def remote(places: Iterable[Coordinate]) -> Coordinate:
    """Where a box counts as being that nobody has measured: as far from all as the furthest is from the middle.

    Else a box that has just joined would seem the nearest to everybody.
    """
    known = list(places)
    if not known:
        return Coordinate()
    middle = Coordinate(x_ms=fmean(place.x_ms for place in known), y_ms=fmean(place.y_ms for place in known))
    furthest = max(distance_ms(middle, place) for place in known)
    return middle.model_copy(update={"height_ms": min(furthest, MOST_COORDINATE_MS)})
