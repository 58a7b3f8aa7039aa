"""What a policy is, and how one is found by its name (entry point group `openraas.policies`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from importlib.metadata import entry_points
from typing import ClassVar, Self

import numpy as np

from common.errors import BadInput
from common.settings import Settings
from master.scheduling.fleet import Fleet
from master.scheduling.layers import Floats
from master.scheduling.request import PlacementRequest

GROUP = "openraas.policies"


class Scope(StrEnum):
    """Which boxes a policy considers for computing."""

    FLEET = "fleet"
    SERVERS = "servers"
    CENTRE = "centre"


class Sharing(StrEnum):
    """Where layers and files come from: any box, or (the baselines) the box itself and the centre alone."""

    ALL = "all"
    CENTRE = "centre"


class Policy(ABC):
    """Says what each box would cost a request; everything else of a placement follows from the cheapest.

    A policy keeps nothing between calls, and the same request, fleet and state of `rng` give the same costs.
    """

    name: ClassVar[str]
    scope: ClassVar[Scope] = Scope.FLEET
    sharing: ClassVar[Sharing] = Sharing.ALL
    # Whether a box keeps the layers that it fetched for an instance once that has ended.
    keeps_layers: ClassVar[bool] = True

    # Whether filestores are chosen by their record too, or by their distance alone.
    by_record: ClassVar[bool] = False

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The policy with the weights that the operator set."""
        return cls()

    @abstractmethod
    def cost(self, request: PlacementRequest, fleet: Fleet, rng: np.random.Generator) -> Floats:
        """What each box would cost, shape (rows,) as the fleet's arrays: the lowest wins, of equals the first row.

        Boxes that are not eligible may get any number. The array may not be one of the fleet's own.
        """

    @abstractmethod
    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """What the box is among the eligible ones: "the nearest to you (3 ms)"."""


class StaticPolicy(Policy):
    """A policy whose cost depends on neither reservations nor layers nor chance: a crowd can be costed at once."""

    @abstractmethod
    def costs(self, request: PlacementRequest, places: Floats, fleet: Fleet) -> Floats:
        """The costs of the same request by n people at `places` (n, 4: x, y, height, area); shape (n, rows)."""

    def cost(self, request: PlacementRequest, fleet: Fleet, rng: np.random.Generator) -> Floats:
        """See Policy."""
        row: Floats = self.costs(request, np.array([request.near]), fleet)[0]
        return row


def policy_names() -> list[str]:
    """All registered policies, in alphabetical order."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load_policy(name: str, settings: Settings | None = None) -> Policy:
    """The policy of that name; raises BadInput that lists those there are."""
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise BadInput(
            f"There is no policy {name}.", field="policy", remedy=f"Take one of: {', '.join(sorted(points))}."
        )
    factory: type[Policy] = points[name].load()
    return factory() if settings is None else factory.from_settings(settings)
