"""Any box that can, drawn evenly: the baseline every other policy has to beat."""

from __future__ import annotations

import numpy as np

from master.scheduling.fleet import Fleet
from master.scheduling.layers import Floats
from master.scheduling.policy import Policy
from master.scheduling.request import PlacementRequest


class Random(Policy):
    """Draws the costs."""

    name = "random"

    def cost(self, request: PlacementRequest, fleet: Fleet, rng: np.random.Generator) -> Floats:
        """See Policy."""
        return rng.random(len(fleet.up))

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """See Policy."""
        return "drawn by chance"
