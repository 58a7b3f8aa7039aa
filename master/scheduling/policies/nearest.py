"""The published placement of OpenRaaS: among the boxes that can, the nearest to the person wins."""

from __future__ import annotations

import numpy as np

from master.scheduling.distance import away, distances_ms
from master.scheduling.fleet import Fleet
from master.scheduling.layers import Floats
from master.scheduling.policy import StaticPolicy
from master.scheduling.request import PlacementRequest


class Nearest(StaticPolicy):
    """The cost is the round trip to the person in milliseconds."""

    name = "nearest"

    def costs(self, request: PlacementRequest, places: Floats, fleet: Fleet) -> Floats:
        """See StaticPolicy."""
        return fleet.network.distances_ms(places)

    def cost(self, request: PlacementRequest, fleet: Fleet, rng: np.random.Generator) -> Floats:
        """See Policy. What was measured goes before what the map says."""
        return distances_ms(request, fleet)

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """See Policy."""
        return f"the nearest to you ({away(request, fleet, row)})"
