"""Network coordinates: they come to fit the network, and nobody throws them far."""

from __future__ import annotations

import itertools
import math
import random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.vivaldi import (
    KEPT_S,
    LEAST_ERROR,
    LEAST_HEIGHT_MS,
    MOST_ERROR,
    MOST_PULL_MS,
    PEERS_KEPT,
    TIMESTEP,
    Position,
    RoundTrips,
    locate,
    moved,
)
from common.words import MOST_ROUND_TRIP_MS, Coordinate, distance_ms

HALF_MAP_MS = 60.0

coordinates = st.builds(
    Coordinate,
    x_ms=st.floats(-1e6, 1e6),
    y_ms=st.floats(-1e6, 1e6),
    height_ms=st.floats(0, 1e6),
)
positions = st.builds(Position, coordinates, st.floats(-10, 10))
round_trips = st.floats(1e-3, MOST_ROUND_TRIP_MS)
angles = st.floats(0, 2 * math.pi)


def a_place(rng: random.Random, *, star: bool = False) -> Coordinate:
    """Somewhere on the map; in a star nothing but the access links keep places apart."""
    half = 0.0 if star else HALF_MAP_MS
    return Coordinate(
        x_ms=rng.uniform(-half, half), y_ms=rng.uniform(-half, half), height_ms=rng.uniform(0.5, 20)
    )


def relative_errors(places: list[Coordinate], truth: list[Coordinate]) -> list[float]:
    """How far off the distances of all pairs are."""
    pairs = itertools.combinations(range(len(truth)), 2)
    return [
        abs(distance_ms(places[one], places[other]) - real) / real
        for one, other in pairs
        if (real := distance_ms(truth[one], truth[other]))
    ]


def converge(truth: list[Coordinate], rng: random.Random, *, liars: int = 0, rounds: int = 200) -> float:
    """The honest boxes' median relative error after `rounds` of noisy round trips to eight changing peers each."""
    count = len(truth)
    own, trips = [Position() for _ in truth], [RoundTrips() for _ in truth]
    peers: list[list[int]] = []
    for now in range(rounds):
        if now % 50 == 0:
            peers = [
                rng.sample([o for o in range(count) if o != box], min(8, count - 1)) for box in range(count)
            ]
        for box in range(count):
            peer = peers[box][now % len(peers[box])]
            seen_ms = distance_ms(truth[box], truth[peer]) * (1 + abs(rng.gauss(0, 0.1)))
            if rng.random() < 0.05:
                seen_ms *= 10  # a slow moment
            claimed = own[peer]
            if peer < liars:
                far = Coordinate(x_ms=rng.uniform(-1000, 1000), y_ms=rng.uniform(-1000, 1000))
                claimed, seen_ms = Position(far, 0.0), seen_ms + rng.uniform(0, 500)
            steady_ms = trips[box].note(str(peer), seen_ms, now)
            own[box] = moved(own[box], claimed, steady_ms, lambda: rng.uniform(0, 2 * math.pi))
    return median(relative_errors([item.place for item in own[liars:]], truth[liars:]))


@pytest.mark.parametrize("count", [3, 8, 60])
@pytest.mark.parametrize("star", [False, True])
def test_places_come_to_tell_the_round_trips_between_boxes(count: int, star: bool) -> None:
    rng = random.Random(count)  # noqa: S311 - a map, not a secret
    assert converge([a_place(rng, star=star) for _ in range(count)], rng) < 0.2


def test_a_few_liars_do_not_spoil_the_map_of_the_others() -> None:
    rng = random.Random(5)  # noqa: S311 - a map, not a secret
    assert converge([a_place(rng) for _ in range(60)], rng, liars=5) < 0.4


@given(positions, positions, round_trips, angles)
def test_whatever_a_peer_claims_moves_a_place_only_within_bounds(
    own: Position, peer: Position, round_trip_ms: float, angle: float
) -> None:
    after = moved(own, peer, round_trip_ms, lambda: angle)
    step = math.hypot(after.place.x_ms - own.place.x_ms, after.place.y_ms - own.place.y_ms)
    grown = after.place.height_ms - own.place.height_ms
    bound = TIMESTEP * MOST_PULL_MS + LEAST_HEIGHT_MS + 1e-6
    assert step <= bound
    assert grown <= bound
    assert after.place.height_ms >= LEAST_HEIGHT_MS
    assert LEAST_ERROR <= after.error <= MOST_ERROR


@given(positions, positions, round_trips, angles)
def test_one_round_trip_brings_the_distance_closer_to_it(
    own: Position, peer: Position, round_trip_ms: float, angle: float
) -> None:
    before = abs(distance_ms(own.place, peer.place) - round_trip_ms)
    after = moved(own, peer, round_trip_ms, lambda: angle)
    # A height that would vanish and a direction that was drawn may cost the least height each.
    slack = 4 * LEAST_HEIGHT_MS + 1e-6 * max(1.0, before)
    assert abs(distance_ms(after.place, peer.place) - round_trip_ms) <= before + slack


@pytest.mark.parametrize("round_trip_ms", [0, -1, math.nan, math.inf, 2 * MOST_ROUND_TRIP_MS])
def test_what_is_no_round_trip_is_refused(round_trip_ms: float) -> None:
    with pytest.raises(ValueError, match="no round trip"):
        moved(Position(), Position(), round_trip_ms, lambda: 0.0)


def test_a_slow_moment_does_not_count() -> None:
    trips = RoundTrips()
    for sample in (5, 6, 900, 5, 6):
        steady = trips.note("b", sample, 0.0)
    assert steady == 6


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0.1, 100), st.floats(0, 100)), max_size=200))
def test_the_memory_of_round_trips_is_bounded(samples: list[tuple[int, float, float]]) -> None:
    trips, now = RoundTrips(), 0.0
    for peer, round_trip_ms, passed in samples:
        now += passed
        trips.note(f"b{peer}", round_trip_ms, now)
        assert 1 <= len(trips.medians(now)) <= PEERS_KEPT
    assert trips.medians(now + KEPT_S + 1) == {}


def test_a_person_is_found_by_three_round_trips() -> None:
    rng = random.Random(3)  # noqa: S311 - a map, not a secret
    errors = []
    for _ in range(30):
        boxes, person = [a_place(rng) for _ in range(12)], a_place(rng)
        found = locate([(box, distance_ms(box, person)) for box in boxes[:3]])
        assert found is not None
        errors += [abs(distance_ms(found, box) - distance_ms(person, box)) for box in boxes[3:]]
    assert median(errors) < 5.0


def test_who_saw_one_box_is_as_far_from_it_as_was_seen() -> None:
    box = Coordinate(x_ms=7, y_ms=-3, height_ms=2)
    found = locate([(box, 12.0)])
    assert found is not None
    assert distance_ms(found, box) == pytest.approx(12.0)


def test_who_saw_nothing_is_nowhere() -> None:
    assert locate([]) is None


@given(st.lists(st.tuples(coordinates, round_trips), min_size=1, max_size=3))
def test_any_sightings_give_a_place_and_always_the_same(sightings: list[tuple[Coordinate, float]]) -> None:
    found = locate(sightings)
    assert found is not None
    assert found.height_ms >= LEAST_HEIGHT_MS
    assert found == locate(sightings)
