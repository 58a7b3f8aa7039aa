"""The box that has most of the image already."""

from __future__ import annotations

import numpy as np

from common.units import show_size
from master.scheduling.fleet import Fleet
from master.scheduling.layers import Floats
from master.scheduling.policy import Policy
from master.scheduling.request import PlacementRequest


class LayerLocality(Policy):
    """The cost is what the box has to fetch in bytes."""

    name = "layer-locality"

    def cost(self, request: PlacementRequest, fleet: Fleet, rng: np.random.Generator) -> Floats:
        """See Policy."""
        return fleet.missing_of(request.variants).copy()

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """See Policy."""
        return f"the one that lacks least of the image ({show_size(fleet.missing_of(request.variants)[row])})"
