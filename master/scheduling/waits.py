"""What a request waits for, in one sentence: pure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from common.words import Resources
from master.scheduling.eligibility import eligible, show_amount
from master.scheduling.fleet import COLUMNS, DISK, SLACK, Fleet, amounts_of
from master.scheduling.layers import Bools, Floats
from master.scheduling.policy import Policy
from master.scheduling.request import PlacementRequest


def could_take(policy: Policy, request: PlacementRequest, fleet: Fleet) -> Bools:
    """The boxes that would take the request if they had the room, shape (rows,)."""
    bare = replace(request, resources=Resources())
    return eligible(bare, fleet, policy.scope, policy.sharing)


def needs_of(request: PlacementRequest, fleet: Fleet) -> Floats:
    """What the request needs of each box, missing layers included; shape (rows, 5)."""
    needs = np.tile(np.array(amounts_of(request.resources), dtype=np.float64), (len(fleet.up), 1))
    if request.variants:
        needs[:, DISK] += fleet.missing_of(request.variants) * fleet.layer_room
    return needs


def _why_nowhere(request: PlacementRequest, fleet: Fleet) -> str:
    """What no box that is up has, of what the request is pinned to; empty if that is not it."""
    if request.boxes and not fleet.up[fleet.rows_of(request.boxes)].any():
        return f"It may run only on {' or '.join(sorted(request.boxes))}, which is not up."
    for key, value in request.labels:
        if not fleet.up[fleet.labels.rows((key, value))].any():
            return (
                f"It may run only on boxes with the label {key}={value}, and no box that is up has it. Give it to "
                "one in its box.toml, or correct placement.labels of the manifest."
            )
    return ""


def why_waits(policy: Policy, request: PlacementRequest, fleet: Fleet) -> str:
    """Which room or pin is missing, and where there is most room; empty where something else is missing."""
    rows = np.flatnonzero(could_take(policy, request, fleet))
    if not len(rows):
        return _why_nowhere(request, fleet)
    needs, free = needs_of(request, fleet)[rows].T, fleet.free[:, rows]
    for column, name in enumerate(COLUMNS):
        if (needs[column] <= free[column] + SLACK).any():
            continue
        best = int(np.argmax(free[column] - needs[column]))
        need, room = needs[column, best], max(0.0, free[column, best])
        box = fleet.names[int(rows[best])]
        most = float(fleet.capacity[column, rows].max())
        it_needs = f"It needs {show_amount(column, need)} {name}"
        if column != DISK and most < need:
            return f"{it_needs}; no box has more than {show_amount(column, most)}."
        return f"{it_needs}; the largest free is {show_amount(column, room)} on {box}."
    short = (needs > free + SLACK).sum(axis=0)
    best = int(np.argmin(short))
    lacks = [
        f"{show_amount(column, max(0.0, free[column, best]))} of {show_amount(column, needs[column, best])} {name}"
        for column, name in enumerate(COLUMNS)
        if needs[column, best] > free[column, best] + SLACK
    ]
    if not lacks:
        return ""
    return f"No box has all that it needs at once: {fleet.names[int(rows[best])]} has {' and '.join(lacks)} free."
