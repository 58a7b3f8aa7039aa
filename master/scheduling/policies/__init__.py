"""Policies, one file each, found by the entry point group `openraas.policies`."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Protocol

import numpy as np

from common.errors import BadInput
from master.scheduling.fleet import Fleet, Indices
from master.scheduling.request import PlacementRequest

GROUP = "openraas.policies"


class Policy(Protocol):
    """Orders the eligible boxes; everything else of a placement follows from the first of them."""

    name: str

    def order(
        self, request: PlacementRequest, fleet: Fleet, eligible: Indices, rng: np.random.Generator
    ) -> Indices:
        """The rows of `eligible` (ascending, shape (n,)), best first. Must be a pure function of its arguments."""

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """What the box is among the eligible ones: "the nearest to you (3 ms)"."""


def load_policy(name: str) -> Policy:
    """The policy of that name; raises BadInput that lists those there are."""
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise BadInput(
            f"There is no policy {name}.", field="policy", remedy=f"Take one of: {', '.join(sorted(points))}."
        )
    policy: Policy = points[name].load()()
    return policy
