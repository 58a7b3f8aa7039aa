"""The published placement of OpenRaaS: among the boxes that can, the nearest to the person wins."""

from __future__ import annotations

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

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """See Policy."""
        return f"the nearest to you ({fleet.network.apart_ms(request.near, row):.0f} ms)"
