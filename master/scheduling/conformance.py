"""What every policy has to keep: `CHECKS`, each a function that takes a policy and raises AssertionError.

In a test of your own:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_fewest_is_a_policy(check):
        check(Fewest())
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.words import BoxKind, Resources
from master.scheduling import generate
from master.scheduling.eligibility import eligible
from master.scheduling.facts import BoxFacts
from master.scheduling.fleet import Fleet, amounts_of
from master.scheduling.place import choose, place
from master.scheduling.policy import Policy, Scope, StaticPolicy
from master.scheduling.request import PlacementRequest

_SEEDS = range(4)
_ROUNDS = 8


def costs_are_one_finite_number_per_row(policy: Policy) -> None:
    """Shape, type, no NaN, and nothing of the fleet's own is handed out."""
    for fleet, request in _worlds(policy):
        cost = policy.cost(request, fleet, np.random.default_rng(1))
        _hold(policy, isinstance(cost, np.ndarray), "cost gives no array")
        _hold(policy, cost.shape == fleet.up.shape, f"cost has the shape {cost.shape}, not {fleet.up.shape}")
        _hold(policy, np.issubdtype(cost.dtype, np.number), f"cost is of {cost.dtype}, not of numbers")
        mask = eligible(request, fleet, policy.scope, policy.sharing)
        _hold(policy, bool(np.isfinite(cost[mask]).all()), "cost of an eligible box is not finite")
        for name, own in _arrays(fleet):
            _hold(policy, not np.shares_memory(cost, own), f"cost is the fleet's own array {name}")


def costs_change_nothing(policy: Policy) -> None:
    """A policy only looks."""
    for fleet, request in _worlds(policy):
        before = {name: values.copy() for name, values in _arrays(fleet)}
        policy.cost(request, fleet, np.random.default_rng(1))
        for name, values in _arrays(fleet):
            _hold(policy, bool(np.array_equal(values, before[name])), f"cost changed fleet.{name}")


def equal_worlds_give_equal_choices(policy: Policy) -> None:
    """The same facts, told in another order and after detours, and the same seed: the same choice."""
    for fleet, request in _worlds(policy):
        first = choose(policy, request, fleet, np.random.default_rng(5), most=4)
        again = choose(policy, request, fleet, np.random.default_rng(5), most=4)
        _hold(policy, first == again, f"the same seed chose {first}, then {again}")
        if not first:
            continue
        amounts = amounts_of(Resources(cpu=0.125))
        fleet.reserve(first[0], amounts)
        fleet.leave(first[-1])
        choose(policy, request, fleet, np.random.default_rng(5), most=4)
        fleet.come_back(first[-1])
        fleet.release(first[0], amounts)
        after = choose(policy, request, fleet, np.random.default_rng(5), most=4)
        _hold(policy, first == after, f"after a detour {after} is chosen instead of {first}")


def the_cheapest_eligible_boxes_are_chosen(policy: Policy) -> None:
    """Exactly the eligible ones, by their cost, and of equals the first row."""
    for fleet, request in _worlds(policy):
        mask = eligible(request, fleet, policy.scope, policy.sharing)
        cost = policy.cost(request, fleet, np.random.default_rng(9))
        expected = sorted((int(row) for row in np.flatnonzero(mask)), key=lambda row: (cost[row], row))
        for most in (1, 3, 1000):
            chosen = choose(policy, request, fleet, np.random.default_rng(9), most=most)
            _hold(policy, chosen == expected[:most], f"{chosen} was chosen, not {expected[:most]}")


def reasons_are_short_sentences(policy: Policy) -> None:
    """One line that can stand between "box-3 is" and a full stop."""
    for fleet, request in _worlds(policy):
        for one in place(policy, request, fleet, np.random.default_rng(3)).placements:
            reason = policy.reason(request, fleet, fleet.row_of[one.compute])
            good = bool(reason) and "\n" not in reason and not reason.endswith(".") and len(reason) <= 200
            _hold(policy, good, f"the reason {reason!r} cannot stand in a sentence")


def a_crowd_costs_what_its_people_cost(policy: Policy) -> None:
    """A static policy: many at once as one by one, whatever is reserved and wherever layers lie."""
    if not isinstance(policy, StaticPolicy):
        return
    for fleet, request in _worlds(policy):
        places = np.array([[*request.near], [10.0, 20.0, 3.0, 0.0]])
        before = policy.costs(request, places, fleet)
        alone = policy.cost(request, fleet, np.random.default_rng(1))
        _hold(policy, bool(np.allclose(before[0], alone)), "costs of many differ from the cost of one")
        for row in range(0, len(fleet), 3):
            fleet.reserve(row, amounts_of(Resources(cpu=0.5)))
            fleet.gain(row, request.variants[0].layers[0].digest)
        after = policy.costs(request, places, fleet)
        _hold(policy, bool(np.array_equal(before, after)), "the costs depend on reservations or layers")


def fleets_of_none_and_one_are_no_trouble(policy: Policy) -> None:
    """Nothing to choose from is not an error."""
    request = PlacementRequest(Resources(cpu=1), ())
    rng = np.random.default_rng(1)
    _hold(policy, choose(policy, request, Fleet.build([]), rng) == [], "a box was found in an empty fleet")
    alone = BoxFacts(
        "alone", kind=BoxKind.SERVER, capacity=Resources(cpu=1), central=policy.scope is Scope.CENTRE
    )
    _hold(policy, choose(policy, request, Fleet.build([alone]), rng) == [0], "the only box was not chosen")


CHECKS: tuple[Callable[[Policy], None], ...] = (
    costs_are_one_finite_number_per_row,
    costs_change_nothing,
    equal_worlds_give_equal_choices,
    the_cheapest_eligible_boxes_are_chosen,
    reasons_are_short_sentences,
    a_crowd_costs_what_its_people_cost,
    fleets_of_none_and_one_are_no_trouble,
)


def _hold(policy: Policy, holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(f"Policy {policy.name}: {what}.")


def _worlds(policy: Policy) -> Iterator[tuple[Fleet, PlacementRequest]]:
    """Small random fleets, and requests for them; instances come to run as time goes on."""
    for seed in _SEEDS:
        rng = np.random.default_rng(seed)
        catalogue = generate.applications(rng, 6, layers=30, layers_each=5)
        facts = generate.boxes(rng, 25, catalogue)
        everything = frozenset(
            layer.digest for one in catalogue for kind in one.variants for layer in kind.layers
        )
        files = frozenset((one.fileset.fileset, 1) for one in catalogue if one.fileset is not None)
        facts.append(
            BoxFacts(
                "centre", kind=BoxKind.SERVER, central=True, zstd=True, layers=everything, filesets=files,
                capacity=Resources(cpu=512, memory_bytes=2**42, disk_bytes=2**45, bandwidth_bps=10**10, gpu=8),
            )
        )  # fmt: skip
        fleet = Fleet.build(facts)
        for _ in range(_ROUNDS):
            request = generate.request(rng, catalogue)
            yield fleet, request
            for row in choose(policy, request, fleet, rng):
                fleet.reserve(row, amounts_of(request.resources))


def _arrays(fleet: Fleet) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, values in vars(fleet).items():
        if isinstance(values, np.ndarray):
            yield name, values
