"""Many requests of one instant at once, where a policy's costs are static: the same choices, made by arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from master.scheduling.eligibility import eligible
from master.scheduling.fleet import SLACK, Fleet, amounts_of
from master.scheduling.policy import StaticPolicy
from master.scheduling.request import PlacementRequest

_FIRST, _MOST = 1024, 65536  # requests that are costed at once: few at first, for they may take all the room

Indices = NDArray[np.intp]


def room_for(request: PlacementRequest, fleet: Fleet, policy: StaticPolicy) -> NDArray[np.int64]:
    """How many of the same request each box has room for, shape (rows,). The request needs no layers."""
    amounts = np.array(amounts_of(request.resources))
    needed = amounts > 0
    room = np.full(len(fleet.up), np.iinfo(np.int64).max)
    if needed.any():
        fits = np.floor((fleet.free[needed] + SLACK) / amounts[needed, None]).min(axis=0)
        room = fits.clip(min=0).astype(np.int64)
    room[~eligible(request, fleet, policy.scope, policy.sharing)] = 0
    return room


def choose_all(
    policy: StaticPolicy, request: PlacementRequest, places: NDArray[np.float64], fleet: Fleet
) -> Indices:
    """The row for each of n people who ask for the same, in their order; -1 where no box had room any more.

    As if each were placed and its room reserved before the next: up to the first request whose box is full by
    then all choices stand; then that box is out and the choices behind are made anew. Each round closes a box.
    """
    chosen = np.full(len(places), -1, dtype=np.intp)
    room = room_for(request, fleet, policy)
    for begin, end in _pieces(len(places)):
        if not room.any():
            break
        open_ = np.flatnonzero(room)
        costs = policy.costs(request, places[begin:end], fleet)[:, open_]
        at = 0
        while at < len(costs):
            wished = open_[costs[at:].argmin(axis=1)]
            stands = _stands(wished, room)
            chosen[begin + at : begin + at + stands] = wished[:stands]
            room -= np.bincount(wished[:stands], minlength=len(room))
            at += stands
            still = room[open_] > 0
            if not still.any():
                break
            if not still.all():
                open_, costs = open_[still], costs[:, still]
    return chosen


def _pieces(total: int) -> Iterator[tuple[int, int]]:
    begin, size = 0, _FIRST
    while begin < total:
        yield begin, min(total, begin + size)
        begin, size = begin + size, min(_MOST, 2 * size)


def _stands(wished: Indices, room: NDArray[np.int64]) -> int:
    """How many of the first wishes can all be met."""
    counts = np.bincount(wished, minlength=len(room))
    first = len(wished)
    for row in np.flatnonzero(counts > room):
        first = min(first, int(np.flatnonzero(wished == row)[room[row]]))
    return first
