"""From a request and a fleet to placements: eligibility, the policy's order, then files and layers."""

from __future__ import annotations

from collections import Counter

import numpy as np

from common.units import show_size
from common.words import MountMode
from master.scheduling.eligibility import eligible, filestores
from master.scheduling.fleet import Fleet
from master.scheduling.policies import Policy
from master.scheduling.request import Decision, LeftOut, Placement, PlacementRequest

CANDIDATES = 5


def place(
    policy: Policy,
    request: PlacementRequest,
    fleet: Fleet,
    rng: np.random.Generator,
    *,
    most: int = CANDIDATES,
) -> Decision:
    """Up to `most` placements, best first; none with what the request waits for.

    Boxes that may write the request's home come before those where it could only be read.
    """
    mask, left_out = eligible(request, fleet)
    rows = np.flatnonzero(mask)
    if len(rows) == 0:
        return Decision((), left_out, _waits_for(left_out))
    ordered = policy.order(request, fleet, rows, rng)
    writers = {need.writer for need in request.filesets if need.mode is MountMode.READ_WRITE and need.writer}
    if writers:
        ordered = np.array(sorted(ordered, key=lambda row: fleet.names[row] not in writers), dtype=np.intp)
    placements = tuple(_compose(policy, request, fleet, int(row), len(rows)) for row in ordered[:most])
    return Decision(placements, left_out)


def _compose(policy: Policy, request: PlacementRequest, fleet: Fleet, row: int, choices: int) -> Placement:
    """The placement that follows from computing on box `row`."""
    compute = fleet.names[row]
    distance = fleet.distance_ms(fleet.places[row])
    stores: dict[str, str] = {}
    modes: dict[str, MountMode] = {}
    for need in request.filesets:
        able = filestores(need, fleet)
        # The box itself is nearest of all, whatever its height says.
        away = np.where(np.arange(len(fleet)) == row, -1.0, distance)
        stores[need.fileset] = fleet.names[int(np.argmin(np.where(able, away, np.inf)))]
        elsewhere = need.writer is not None and need.writer != compute
        modes[need.fileset] = MountMode.READ_ONLY if elsewhere else need.mode
    variant = request.variants[int(fleet.suited(request.variants)[row])]
    depositories = {
        layer.digest: tuple(fleet.names[int(holder)] for holder in fleet.offering(layer.digest))
        for layer in variant.layers
    }
    missing = int(fleet.missing_bytes(variant.layers)[row])
    among = f"of {choices} eligible boxes" if choices > 1 else "and the only eligible box"
    layers = f"{show_size(missing)} of layers to fetch" if missing else "all layers are there"
    reason = f"{compute} is {policy.reason(request, fleet, row)} {among}; {layers}."
    return Placement(compute, variant.image, stores, modes, depositories, missing, reason)


def _waits_for(left_out: tuple[LeftOut, ...]) -> str:
    """Why nothing can take the request: the commonest reason, with one box as the example."""
    if not left_out:
        return "No box is up."
    counts = Counter(item.why.split(",")[0] for item in left_out)
    # A box without the role says little; tell what keeps back those that could compute.
    telling = [item for item in left_out if item.why != "has not the compute role"] or list(left_out)
    best = max(telling, key=lambda item: counts[item.why.split(",")[0]])
    others = f" ({len(left_out) - 1} more cannot either)" if len(left_out) > 1 else ""
    return f"No box can take it now: {best.box} {best.why}{others}."
