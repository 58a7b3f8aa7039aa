"""How far a person is from the boxes: what was measured counts, and the map tells the rest.

A coordinate alone would not do. Heights stand for access links and are added to every distance, so that a box at
somebody's own switch, behind the same slow line to everybody else, would seem as far as that line is long.
"""

from __future__ import annotations

from master.scheduling.fleet import Fleet, Floats
from master.scheduling.request import PlacementRequest


def is_nowhere(request: PlacementRequest) -> bool:
    """Whether nobody knows where on the map the person is."""
    return request.near == type(request.near)()


def distances_ms(request: PlacementRequest, fleet: Fleet) -> Floats:
    """The round trip from the person to each box, shape (boxes,).

    Of somebody who is nowhere on the map the boxes that were not measured are no nearer than those that were.
    """
    distance = fleet.distance_ms(request.near)
    if not request.measured:
        return distance
    if is_nowhere(request):
        distance = distance + max(request.measured.values())
    for box, round_trip_ms in request.measured.items():
        if box in fleet.names:
            distance[fleet.names.index(box)] = round_trip_ms
    return distance


def away(request: PlacementRequest, fleet: Fleet, row: int) -> str:
    """How far a box is, for a reason: `3 ms, measured`, `about 3 ms`, or that nobody knows."""
    measured = request.measured.get(fleet.names[row])
    if measured is not None:
        return f"{_show(measured)}, measured"
    if is_nowhere(request):
        return "nobody has measured where you are"
    return f"about {_show(float(distances_ms(request, fleet)[row]))}"


def _show(distance_ms: float) -> str:
    return f"{distance_ms:.0f} ms" if distance_ms >= 1.5 else f"{distance_ms:.1f} ms"
