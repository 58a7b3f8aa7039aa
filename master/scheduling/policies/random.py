"""Any box that can, drawn evenly: the baseline every other policy has to beat."""

from __future__ import annotations

import numpy as np

from master.scheduling.fleet import Fleet, Indices
from master.scheduling.request import PlacementRequest


class Random:
    """Shuffles the eligible boxes."""

    name = "random"

    def order(
        self,
        request: PlacementRequest,
        fleet: Fleet,
        eligible: Indices,
        rng: np.random.Generator,
    ) -> Indices:
        """See Policy."""
        shuffled: Indices = rng.permutation(eligible)
        return shuffled

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """See Policy."""
        return "drawn by chance"
