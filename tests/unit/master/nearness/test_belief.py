"""What the master believes of the places that boxes claim."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.peers import MOST_PEERS
from common.status import BoxStatus, DiskUse
from common.words import BoxKind, Coordinate, Resources, Role, distance_ms
from master.nearness.belief import WITNESSES, agree, believed, remote
from master.nearness.map import Map
from master.nearness.pairing import pairs

TRUTH = {
    "a": Coordinate(x_ms=0, y_ms=0, height_ms=1),
    "b": Coordinate(x_ms=20, y_ms=0, height_ms=2),
    "c": Coordinate(x_ms=0, y_ms=30, height_ms=1),
    "d": Coordinate(x_ms=-25, y_ms=-5, height_ms=3),
    "e": Coordinate(x_ms=5, y_ms=-40, height_ms=1),
}


def say(
    box: str, place: Coordinate, round_trips: Mapping[str, float], error: float | None = 0.1
) -> BoxStatus:
    """A status with this place; without an error it was typed in."""
    return BoxStatus(
        box=box, epoch="e", sequence=0, redis_epoch="r", at=time.time(), roles=frozenset(Role),
        kind=BoxKind.DESKTOP, open=True, fixed=True, architecture="amd64", capacity=Resources(cpu=1),
        used=Resources(), disk=DiskUse(lent_bytes=1), coordinate=place, coordinate_error=error,
        round_trips_ms=dict(round_trips),
    )  # fmt: skip


def honest() -> dict[str, BoxStatus]:
    """Five boxes that tell where they are and what they measured of all others."""
    return {
        box: say(box, place, {o: distance_ms(place, there) for o, there in TRUTH.items() if o != box})
        for box, place in TRUTH.items()
    }


def test_places_that_the_others_confirm_are_believed_as_they_are() -> None:
    assert {box: spot.place for box, spot in believed(honest()).items()} == TRUTH


def test_a_box_that_nobody_measured_has_no_place_and_counts_as_far_from_everybody() -> None:
    claims = honest() | {"new": say("new", Coordinate(height_ms=0.1), {}, error=1.0)}
    found = believed(claims)
    assert "new" not in found
    drawn = Map(found, remote(spot.place for spot in found.values()))
    place = drawn.of(claims["new"])
    for box, there in TRUTH.items():
        others = [distance_ms(there, other) for name, other in TRUTH.items() if name != box]
        assert distance_ms(there, place) >= min(others)


@pytest.mark.parametrize("also_its_round_trips", [True, False])
def test_a_box_that_claims_to_be_near_everybody_is_not_believed(also_its_round_trips: bool) -> None:
    claims = honest()
    own = dict.fromkeys("abcd", 0.5) if also_its_round_trips else claims["e"].round_trips_ms
    claims["e"] = say("e", Coordinate(x_ms=0, y_ms=0, height_ms=0), own)
    spot = believed(claims).get("e")
    # Either it has no place at all, or one as far off as most of the others measured.
    away = [distance_ms(spot.place, TRUTH[box]) for box in "abcd"] if spot else []
    real = [distance_ms(TRUTH["e"], TRUTH[box]) for box in "abcd"]
    assert spot is None or sorted(away)[2] >= 0.6 * sorted(real)[1]
    assert (spot is None) == also_its_round_trips


def test_a_box_that_calls_the_others_far_away_does_them_no_harm() -> None:
    claims = honest()
    claims["e"] = say("e", TRUTH["e"], dict.fromkeys("abcd", 5000.0))
    found = believed(claims)
    assert {box: found[box].place for box in "abcd"} == {box: TRUTH[box] for box in "abcd"}
    assert "e" not in found


def test_a_place_that_was_typed_in_needs_no_witness_but_does_not_stand_against_several() -> None:
    typed = {box: say(box, place, {}, error=None) for box, place in TRUTH.items()}
    assert {box: spot.place for box, spot in believed(typed).items()} == TRUTH
    # Boxes of a lab may claim to be further apart than they are.
    near = {box: say(box, TRUTH[box], dict.fromkeys(set(TRUTH) - {box}, 0.2), error=None) for box in TRUTH}
    assert {box: spot.place for box, spot in believed(near).items()} == TRUTH

    claims = honest() | {"e": say("e", Coordinate(), {}, error=None)}
    assert len([box for box in "abcd" if "e" in claims[box].round_trips_ms]) >= WITNESSES
    assert believed(claims)["e"].place.height_ms > 10


lies = st.builds(
    say,
    st.just("e"),
    st.builds(Coordinate, x_ms=st.floats(-1e6, 1e6), y_ms=st.floats(-1e6, 1e6), height_ms=st.floats(0, 1e6)),
    st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 10_000)),
    error=st.one_of(st.none(), st.floats(0, 1)),
)


@given(lies)
def test_whatever_one_box_says_the_places_of_the_others_stay(lie: BoxStatus) -> None:
    found = believed(honest() | {"e": lie})
    for box in "abcd":
        assert found[box].place.x_ms == TRUTH[box].x_ms
        # The middle witness is an honest one; what it misses is what the map may be off.
        assert found[box].place.height_ms == TRUTH[box].height_ms
    # Everything that comes of it can be written down and read again.
    for place in [spot.place for spot in found.values()] + [remote(spot.place for spot in found.values())]:
        assert Coordinate.model_validate_json(place.model_dump_json()) == place


def test_two_ends_agree_about_what_is_nearly_the_same() -> None:
    assert agree(10, 19)
    assert agree(0.1, 2.9)
    assert not agree(5, 50)


@given(st.integers(0, 60), st.integers(0, 1000))
def test_pairs_are_mutual_and_few(count: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a map, not a secret
    places = {
        f"b{number}": Coordinate(x_ms=chance.uniform(-50, 50), y_ms=chance.uniform(-50, 50))
        for number in range(count)
    }
    found = pairs(places, chance)
    assert set(found) == set(places)
    for box, peers in found.items():
        assert len(peers) <= MOST_PEERS
        assert box not in peers
        assert all(box in found[peer] for peer in peers)
    if 2 <= count <= MOST_PEERS + 1:
        assert all(len(peers) == count - 1 for peers in found.values())


def test_neighbours_meet_and_every_box_is_joined_to_every_other_by_some_road() -> None:
    chance = random.Random(4)  # noqa: S311 - a map, not a secret
    places = {
        f"{town}{number}": Coordinate(x_ms=100 * town + number / 10, height_ms=1)
        for town in range(5)
        for number in range(12)
    }
    found = pairs(places, chance)
    home = [sum(peer[0] == box[0] for peer in peers) for box, peers in found.items()]
    assert sum(home) / len(home) >= MOST_PEERS / 3
    reached, edge = {"00"}, ["00"]
    while edge:
        edge = [peer for box in edge for peer in found[box] if peer not in reached]
        reached.update(edge)
    assert reached == set(places)
