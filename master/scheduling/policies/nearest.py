"""The published placement of OpenRaaS: among the boxes that can, the nearest to the person wins."""

from __future__ import annotations

import numpy as np

from master.scheduling.distance import away, distances_ms
from master.scheduling.fleet import Fleet, Indices
from master.scheduling.request import PlacementRequest


class Nearest:
    """Orders by round trip to the person; equal ones by missing bytes, then by name."""

    name = "nearest"

    def order(
        self,
        request: PlacementRequest,
        fleet: Fleet,
        eligible: Indices,
        rng: np.random.Generator,
    ) -> Indices:
        """See Policy."""
        distance = distances_ms(request, fleet)[eligible]
        missing = fleet.missing_of(request.variants)[eligible]
        ordered: Indices = eligible[np.lexsort((missing, distance))]
        return ordered

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """See Policy."""
        return f"the nearest to you ({away(request, fleet, row)})"
