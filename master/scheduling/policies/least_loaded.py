"""The box of which the smallest share is taken: what most balancers do."""

from __future__ import annotations

import numpy as np

from master.scheduling.fleet import CPU, MEMORY, Fleet
from master.scheduling.layers import Floats
from master.scheduling.policy import Policy
from master.scheduling.request import PlacementRequest


class LeastLoaded(Policy):
    """The cost is the share of cores or memory that is reserved, whichever is greater."""

    name = "least-loaded"

    def cost(self, request: PlacementRequest, fleet: Fleet, rng: np.random.Generator) -> Floats:
        """See Policy."""
        return np.maximum(fleet.taken(CPU), fleet.taken(MEMORY))

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """See Policy."""
        share = max(fleet.taken(CPU)[row], fleet.taken(MEMORY)[row])
        return f"the least loaded ({share:.0%} taken)"
