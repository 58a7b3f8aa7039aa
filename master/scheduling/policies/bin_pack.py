"""The fullest box that still can: keeps others empty for what is large."""

from __future__ import annotations

import numpy as np

from master.scheduling.fleet import CPU, MEMORY, Fleet
from master.scheduling.layers import Floats
from master.scheduling.policy import Policy
from master.scheduling.request import PlacementRequest


class BinPack(Policy):
    """The cost is what stays free of cores and memory, as shares of the box, once the request is there."""

    name = "bin-pack"

    def cost(self, request: PlacementRequest, fleet: Fleet, rng: np.random.Generator) -> Floats:
        """See Policy."""
        left = fleet.taken(CPU, request.resources.cpu)
        left += fleet.taken(MEMORY, request.resources.memory_bytes)
        return np.subtract(2.0, left, out=left)

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """See Policy."""
        return f"the one that it fills best ({fleet.taken(CPU, request.resources.cpu)[row]:.0%} of its cores)"
