"""Every registered policy keeps what policies have to keep, and ours choose as a plain program would."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.settings import Settings
from common.words import Resources
from master.scheduling import generate
from master.scheduling.conformance import CHECKS
from master.scheduling.facts import BoxFacts
from master.scheduling.fleet import CPU, Fleet, amounts_of
from master.scheduling.layers import Floats
from master.scheduling.place import choose, place
from master.scheduling.policies.nearest import Nearest
from master.scheduling.policy import Policy, load_policy, policy_names
from master.scheduling.request import Layer, Place, PlacementRequest, Variant
from tests.support.learnt import Learnt, wanting, with_prewarmed
from tests.support.plain_placement import PlainWorld, check_choice, start_s

PLAIN = ["first", "nearest", "least-loaded", "bin-pack", "layer-locality", "start-soonest"]


class Fewest(Policy):
    """A policy of somebody's own, as docs/extending.md shows it."""

    name = "fewest"

    def cost(self, request: PlacementRequest, fleet: Fleet, rng: np.random.Generator) -> Floats:
        return -fleet.free[CPU]

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        return f"the one with the most free cores ({fleet.free[CPU, row]:g})"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("policy", [*policy_names(), "fewest"])
def test_every_policy_keeps_the_rules_of_policies(policy: str, check: Callable[[Policy], None]) -> None:
    check(Fewest() if policy == "fewest" else load_policy(policy, Settings()))


class HandsOutTheFleet(Nearest):
    def cost(self, request: PlacementRequest, fleet: Fleet, rng: np.random.Generator) -> Floats:
        return fleet.free[CPU]


class Remembers(Nearest):
    calls = 0

    def cost(self, request: PlacementRequest, fleet: Fleet, rng: np.random.Generator) -> Floats:
        type(self).calls += 1
        return np.roll(np.arange(len(fleet.up), dtype=float), self.calls)


class LooksAtReservations(Nearest):
    def costs(self, request: PlacementRequest, places: Floats, fleet: Fleet) -> Floats:
        return super().costs(request, places, fleet) + fleet.reserved[CPU]


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (HandsOutTheFleet, "own array"),
        (Remembers, "chose|is chosen instead"),
        (LooksAtReservations, "depend on reservations"),
    ],
)
def test_a_policy_that_breaks_the_rules_is_found_out(bad: type[Policy], what: str) -> None:
    with pytest.raises(AssertionError, match=what):
        for check in CHECKS:
            check(bad())


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_choices_are_those_of_a_plain_program(name: str, seed: int, count: int) -> None:
    """Whatever is reserved, fetched, given up, gone and come back in between."""
    rng = np.random.default_rng(seed)
    catalogue = generate.applications(rng, 5, layers=25, layers_each=4)
    facts = generate.boxes(rng, count, catalogue)
    fleet = Fleet.build(facts)
    world = PlainWorld(facts, fleet)
    policy = load_policy(name)
    for _ in range(10):
        request = generate.request(rng, catalogue)
        rows = choose(policy, request, fleet, rng)
        check_choice(name, request, fleet.names[rows[0]] if rows else None, world)
        for row in rows:
            _start(fleet, world, request, row)
        _shake(fleet, world, rng)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_what_was_learnt_of_boxes_and_images_counts_as_in_a_plain_program(seed: int, count: int) -> None:
    """Rates, launches, unpacking, records, instances that wait, what people send: choice and prediction."""
    rng = np.random.default_rng(seed)
    catalogue = generate.applications(rng, 5, layers=25, layers_each=4)
    facts = with_prewarmed(rng, generate.boxes(rng, count, catalogue), catalogue)
    learnt = Learnt.draw(rng, catalogue, facts)
    fleet = Fleet.build(facts)
    learnt.tell(fleet)
    world = PlainWorld(facts, fleet, learnt)
    policy = load_policy("start-soonest")
    for _ in range(10):
        request = wanting(rng, generate.request(rng, catalogue))
        placements = place(policy, request, fleet, rng, most=1).placements
        check_choice(policy.name, request, placements[0].compute if placements else None, world)
        for placement in placements:
            box = world.boxes[placement.compute]
            assert placement.predicted.start_s == pytest.approx(start_s(request, box, world))
            _start(fleet, world, request, fleet.row_of[placement.compute])
        _shake(fleet, world, rng)


def test_columns_that_are_dropped_for_lack_of_memory_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("master.scheduling.layers.COLUMN_BYTES", 1)
    rng = np.random.default_rng(4)
    catalogue = generate.applications(rng, 4, layers=15, layers_each=4)
    facts = generate.boxes(rng, 12, catalogue)
    fleet = Fleet.build(facts)
    world = PlainWorld(facts, fleet)
    for _ in range(20):
        request = generate.request(rng, catalogue)
        rows = choose(load_policy("layer-locality"), request, fleet, rng)
        check_choice("layer-locality", request, fleet.names[rows[0]] if rows else None, world)
        for row in rows:
            _start(fleet, world, request, row)


def _start(fleet: Fleet, world: PlainWorld, request: PlacementRequest, row: int) -> None:
    """An instance is placed, and its layers arrive."""
    box = world.boxes[fleet.names[row]]
    amounts = amounts_of(request.resources)
    fleet.reserve(row, amounts)
    box.free = [free - amount for free, amount in zip(box.free, amounts, strict=True)]
    for layer in fleet.variant_for(request.variants, row).layers:
        fleet.gain(row, layer.digest)
        box.layers.add(layer.digest)


def _shake(fleet: Fleet, world: PlainWorld, rng: np.random.Generator) -> None:
    """Something happens to a box."""
    row = int(rng.integers(len(fleet)))
    box = world.boxes[fleet.names[row]]
    what = rng.integers(4)
    if what == 0:
        box.up = not box.up
        (fleet.come_back if box.up else fleet.leave)(row)
    elif what == 1 and box.layers:
        gone = sorted(box.layers)[0]
        box.layers.discard(gone)
        fleet.lose(row, gone)
    elif what == 2:
        other = int(rng.integers(len(fleet)))
        size_bytes = 10 ** int(rng.integers(7, 11))
        fleet.begin_fetch(row, size_bytes, np.array([other]))
        box.inbound += size_bytes
        world.boxes[fleet.names[other]].outbound += size_bytes
    else:
        fleet.set_reserved(row, amounts_of(Resources(cpu=0.5)))
        capacity = amounts_of(box.facts.capacity)
        box.free = [capacity[0] - 0.5, *capacity[1:]]


def test_boxes_that_join_later_stand_behind_and_are_chosen_like_all_others() -> None:
    facts = [BoxFacts(f"box-{number:03d}", capacity=Resources(cpu=1)) for number in range(60)]
    layer = Layer("sha256:" + "a" * 64, 10)
    request = PlacementRequest(Resources(cpu=1), (Variant("i", "amd64", (layer,)),))
    fleet = Fleet.build(facts[:1])
    assert (
        choose(load_policy("nearest"), request, fleet, np.random.default_rng(1)) == []
    )  # nobody has the layer
    for box in facts[1:]:
        fleet.put(box)
    fleet.gain(40, layer.digest)
    assert len(fleet) == 60
    # The others lack disk for a layer, which the one that holds it does not need.
    assert choose(load_policy("nearest"), request, fleet, np.random.default_rng(1)) == [40]


def test_a_box_that_is_gone_for_good_leaves_nothing_behind() -> None:
    layer = Layer("sha256:" + "a" * 64, 10)
    room = Resources(cpu=1, disk_bytes=100)
    fleet = Fleet.build(
        [
            BoxFacts("a", capacity=room, layers=frozenset({layer.digest}), labels={"room": "1"}),
            BoxFacts("b", capacity=room),
        ]
    )
    request = PlacementRequest(Resources(cpu=1), (Variant("i", "amd64", (layer,)),))
    fleet.forget(0)
    assert choose(load_policy("first"), request, fleet, np.random.default_rng(1)) == []
    assert len(fleet.labels.rows(("room", "1"))) == 0
    assert fleet.put(BoxFacts("a", capacity=room, layers=frozenset({layer.digest}))) == 2
    assert choose(load_policy("first"), request, fleet, np.random.default_rng(1), most=2) == [1, 2]


def test_areas_are_as_far_apart_as_their_backbone_says() -> None:
    backbone = np.array([[0.0, 12.0], [12.0, 0.0]])
    fleet = Fleet.build(
        [
            BoxFacts("a", place=Place(height_ms=3, area=0), capacity=Resources(cpu=1)),
            BoxFacts("b", place=Place(height_ms=5, area=1), capacity=Resources(cpu=1)),
        ],
        backbone_ms=backbone,
    )
    person = Place(height_ms=7, area=1)
    assert fleet.network.distance_ms(person).tolist() == [22.0, 12.0]
    assert fleet.network.distances_ms(np.array([person, Place(height_ms=1)])).tolist() == [
        [22.0, 12.0],
        [4.0, 18.0],
    ]


def test_what_a_person_measured_goes_before_what_the_map_says() -> None:
    room = Resources(cpu=1)
    fleet = Fleet.build([BoxFacts(name, place=Place(height_ms=9), capacity=room) for name in ("a", "b", "c")])
    request = PlacementRequest(
        room, (Variant("i", "amd64"),), near=Place(x_ms=1), measured={"c": 2, "gone": 1}
    )
    policy = load_policy("nearest")
    assert choose(policy, request, fleet, np.random.default_rng(1), most=3) == [2, 0, 1]
    assert policy.reason(request, fleet, 2) == "the nearest to you (2 ms, measured)"
    assert policy.reason(request, fleet, 0) == "the nearest to you (about 10 ms)"
