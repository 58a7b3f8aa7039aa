"""The first box that can, by name: what the older systems did."""

from __future__ import annotations

import numpy as np

from master.scheduling.fleet import Fleet, Indices
from master.scheduling.request import PlacementRequest


class First:
    """Takes eligible boxes in the order of their names."""

    name = "first"

    def order(
        self,
        request: PlacementRequest,
        fleet: Fleet,
        eligible: Indices,
        rng: np.random.Generator,
    ) -> Indices:
        """See Policy."""
        return eligible

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """See Policy."""
        return "the first by name"
