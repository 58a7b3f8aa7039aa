"""Where instances wait, a start is expected to be quick."""

from __future__ import annotations

import numpy as np
import pytest

from common.settings import Settings
from common.words import Resources
from master.scheduling.estimate import WAKE_S, predict, start_s
from master.scheduling.facts import BoxFacts
from master.scheduling.fleet import LAUNCH_S, Fleet
from master.scheduling.place import choose
from master.scheduling.policy import load_policy
from master.scheduling.request import PlacementRequest, Variant

ROOM = Resources(cpu=8)


def fleet() -> Fleet:
    """On the second of three boxes one instance waits."""
    waiting = {"b": {"warm.app": 1}}
    return Fleet.build([BoxFacts(name, capacity=ROOM, prewarmed=waiting.get(name, {})) for name in "abc"])


def request(name: str) -> PlacementRequest:
    return PlacementRequest(Resources(cpu=1), (Variant("image", "amd64"),), warm=name)


def best(name: str, known: Fleet) -> str:
    policy = load_policy("start-soonest", Settings())
    return known.names[choose(policy, request(name), known, np.random.default_rng(1))[0]]


def test_a_request_goes_where_an_instance_waits_until_somebody_was_placed_there() -> None:
    known = fleet()
    assert best("warm.app", known) == "b"
    known.take_prewarmed(known.row_of["b"], "warm.app")
    assert best("warm.app", known) == "a"
    assert best("warm.other", fleet()) == "a"
    assert best("", fleet()) == "a"


@pytest.mark.parametrize("name", ["warm.app", ""])
def test_the_parts_of_the_prediction_add_up(name: str) -> None:
    known = fleet()
    launches = [predict(request(name), known, row).start_s for row in range(3)]
    assert launches == pytest.approx(start_s(request(name), known)[:3].tolist())
    assert launches == pytest.approx([LAUNCH_S, WAKE_S if name else LAUNCH_S, LAUNCH_S])


def test_a_box_that_says_that_none_waits_any_more_is_believed() -> None:
    known = fleet()
    known.put(BoxFacts("b", capacity=ROOM))
    assert best("warm.app", known) == "a"
