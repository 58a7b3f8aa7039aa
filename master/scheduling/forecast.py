"""When room will come: from the predicted ends of what runs, to a start for what waits. Pure.

The first in the order that finds no room gets a reservation in time: the box on which it will fit first, and when.
Others may pass it only where they do not touch that (conservative backfill for the head of the queue; Mu'alem and
Feitelson, "Utilization, Predictability, Workloads, and User Runtime Estimates …", IEEE TPDS 12(6), 2001).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from master.scheduling.layers import Bools, Floats

# Rounding of what was added and taken many times is no lack of room.
SLACK = 1e-6


@dataclass(frozen=True)
class Hold:
    """Something that runs: what it holds of box `row`, and until when (Unix time), as far as one can tell."""

    row: int
    amounts: Floats
    until: float


@dataclass
class Protection:
    """Room on one box that is kept for the head of the queue from `since` on.

    `spare` is what will be free there beside it at that time.
    """

    row: int
    since: float
    spare: Floats

    def allows(self, row: int, amounts: Floats, until: float) -> bool:
        """Whether something that ends at `until` at the latest may start on box `row` now."""
        return row != self.row or until <= self.since or bool((amounts <= self.spare + SLACK).all())

    def note(self, row: int, amounts: Floats, until: float) -> None:
        """It started."""
        if row == self.row and until > self.since:
            self.spare = self.spare - amounts


def protect(needs: Floats, suited: Bools, free: Floats, holds: Iterable[Hold]) -> Protection | None:
    """The first box and time at which a request fits; none if no end that is known makes enough room.

    `needs` and `free` have one row per box (a request needs more disk where layers are missing); `suited` are the
    boxes that could take it if they had the room.
    """
    room = free.copy()
    for hold in sorted(holds, key=lambda item: (item.until, item.row)):
        room[hold.row] += hold.amounts
        if suited[hold.row] and (needs[hold.row] <= room[hold.row] + SLACK).all():
            return Protection(hold.row, hold.until, room[hold.row] - needs[hold.row])
    return None


@dataclass(frozen=True)
class Candidate:
    """A request that waits: what it needs, where it could run, and how long it will hold the room."""

    amounts: Floats
    suited: Bools
    holds_s: float


def predict_starts(
    waiting: Sequence[Candidate], free: Floats, holds: Iterable[Hold], *, now: float
) -> list[float | None]:
    """When each of those who wait (in their order) will start; None if no known end makes room for it.

    Whenever something ends, the first in the order that fits into that box starts there, as the scheduler does it;
    what is kept for the head of the queue is kept here too.
    """
    starts: list[float | None] = [None] * len(waiting)
    if not waiting or not len(free):
        return starts
    room = free.copy()
    ends = [(hold.until, number, hold.row, hold.amounts) for number, hold in enumerate(holds)]
    heapq.heapify(ends)
    needs = np.array([item.amounts for item in waiting])
    suited = np.array([item.suited for item in waiting])
    pending = np.ones(len(waiting), dtype=bool)
    kept = _kept_for_head(waiting, room, ends)
    number = len(ends)
    while ends and pending.any():
        at, _, row, amounts = heapq.heappop(ends)
        at = max(at, now)
        room[row] += amounts
        fits = pending & suited[:, row] & (needs <= room[row] + SLACK).all(axis=1)
        for index in map(int, np.flatnonzero(fits)):
            item, until = waiting[index], at + waiting[index].holds_s
            waits_behind = kept is not None and pending[kept[0]] and index != kept[0]
            if waits_behind and kept is not None and not kept[1].allows(row, item.amounts, until):
                continue
            if not (item.amounts <= room[row] + SLACK).all():
                continue
            room[row] -= item.amounts
            pending[index], starts[index] = False, at
            heapq.heappush(ends, (until, number, row, item.amounts))
            number += 1
    return starts


def _kept_for_head(
    waiting: Sequence[Candidate], free: Floats, ends: list[tuple[float, int, int, Floats]]
) -> tuple[int, Protection] | None:
    """Who is the head, the first that will ever fit, and what is kept for it."""
    holds = [Hold(row, amounts, until) for until, _, row, amounts in ends]
    for index, item in enumerate(waiting):
        needs = np.broadcast_to(item.amounts, free.shape)
        if (kept := protect(needs, item.suited, free, holds)) is not None:
            return index, kept
    return None
