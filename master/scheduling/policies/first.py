"""The first box that can, by name: what the older systems did."""

from __future__ import annotations

import numpy as np

from master.scheduling.fleet import Fleet
from master.scheduling.layers import Floats
from master.scheduling.policy import StaticPolicy
from master.scheduling.request import PlacementRequest


class First(StaticPolicy):
    """All boxes cost the same, so the first row wins."""

    name = "first"

    def costs(self, request: PlacementRequest, places: Floats, fleet: Fleet) -> Floats:
        """See StaticPolicy."""
        return np.zeros((len(places), len(fleet.up)))

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """See Policy."""
        return "the first by name"
