"""How a reason tells the distance to the person."""

from __future__ import annotations

from master.scheduling.request import PlacementRequest


def away(request: PlacementRequest, distance_ms: float) -> str:
    """`about 3 ms`; or that nobody knows: a distance to nowhere is no distance."""
    if request.near == type(request.near)():
        return "nobody has measured where you are"
    return f"about {distance_ms:.0f} ms" if distance_ms >= 1 else "less than 1 ms"
