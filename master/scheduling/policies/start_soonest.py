"""The default: what the person will feel, from the predicted start to the way to the box, and how it was before."""

from __future__ import annotations

from typing import Self

import numpy as np

from common.settings import Settings
from master.scheduling.distance import away, distances_ms
from master.scheduling.estimate import start_s
from master.scheduling.fleet import Fleet
from master.scheduling.layers import Floats
from master.scheduling.policy import Policy
from master.scheduling.request import PlacementRequest


class StartSoonest(Policy):
    """The cost is in seconds of waiting; the weights say what a millisecond of round trip and a failure are worth."""

    name = "start-soonest"
    by_record = True

    def __init__(self, *, latency_weight: float = 0.02, distrust_weight_s: float = 30.0) -> None:
        self._latency_weight = latency_weight
        self._distrust_weight_s = distrust_weight_s

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """See Policy."""
        return cls(latency_weight=settings.latency_weight, distrust_weight_s=settings.distrust_weight_s)

    def cost(self, request: PlacementRequest, fleet: Fleet, rng: np.random.Generator) -> Floats:
        """See Policy."""
        cost = start_s(request, fleet)
        distance = distances_ms(request, fleet)
        distance *= self._latency_weight
        cost += distance
        cost += fleet.distrust * self._distrust_weight_s
        return cost

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """See Policy."""
        return f"the one that serves you soonest ({away(request, fleet, row)})"
