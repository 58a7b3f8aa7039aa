"""What the simulator compares with: everything at the centre, or servers that share nothing with each other."""

from __future__ import annotations

from master.scheduling.fleet import Fleet
from master.scheduling.policies.first import First
from master.scheduling.policies.nearest import Nearest
from master.scheduling.policy import Scope, Sharing
from master.scheduling.request import PlacementRequest


class Cloud(First):
    """All runs at the centre, which holds everything."""

    name = "cloud"
    scope = Scope.CENTRE
    sharing = Sharing.CENTRE

    def reason(self, request: PlacementRequest, fleet: Fleet, row: int) -> str:
        """See Policy."""
        return "the centre"


class Edge(Nearest):
    """The nearest server runs and stores it by itself; what it lacks comes from the centre and does not stay."""

    name = "edge"
    scope = Scope.SERVERS
    sharing = Sharing.CENTRE
    keeps_layers = False


class EdgeWithCache(Edge):
    """The same, but layers that came from the centre stay."""

    name = "edge-with-cache"
    keeps_layers = True
