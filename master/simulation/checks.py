"""What may never happen in a run: room given away twice, bytes from nowhere, a request forgotten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.errors import OpenRaaSError
from master.scheduling.fleet import COLUMNS, Fleet
from master.simulation.links import Links
from master.simulation.record import NOBODY, Block, Outcome
from master.simulation.world import World

_SLACK = 1e-6  # of an amount, for what floating point adds and takes away

# ... and what they may leave behind in any case: cores, bytes, bytes, bits per second, GPUs.
_LEAST = np.array([1e-6, 1.0, 1.0, 1.0, 1e-6])


class Impossible(OpenRaaSError):
    """A run broke one of its invariants: a defect of the simulator or of a policy."""


def check(
    world: World, fleet: Fleet, links: Links, blocks: Sequence[Block] = (), *, over: bool = False
) -> None:
    """Raise Impossible if an invariant does not hold now. With `over` nothing may be left of any request."""
    _capacity(fleet, over=over)
    _bytes(world, links)
    if over:
        _requests(blocks)


def _capacity(fleet: Fleet, *, over: bool) -> None:
    slack = np.maximum(_SLACK * np.abs(fleet.capacity), _LEAST[:, None])
    for amounts, fault in (
        (fleet.capacity - fleet.reserved < -slack, "gave away more than it has of"),
        (fleet.reserved < -slack, "got back more than it gave away of"),
        (over & (fleet.reserved > slack), "never got back what it gave away of"),
    ):
        if amounts.any():
            column, row = (int(at) for at in np.argwhere(amounts)[0])
            raise Impossible(f"Box {fleet.names[row]} {fault} its {COLUMNS[column]}.")


def _bytes(world: World, links: Links) -> None:
    carried = 0.0
    for row, link in links.used():
        carried += link.moved
        flowing = sum(transfer.rate_bps for transfer in link.flowing)
        if link.held_bps + flowing > link.capacity_bps * (1 + _SLACK):
            raise Impossible(f"The link of box {world.name(row)} carries more than it can.")
    if abs(carried - 2 * links.moved) > _SLACK * max(1.0, carried):
        raise Impossible(f"Links carried {carried:.0f} bytes, transfers twice {links.moved:.0f}.")


def _requests(blocks: Sequence[Block]) -> None:
    for slot, block in enumerate(blocks):
        if (lost := int((block.outcome == Outcome.OPEN).sum())) > 0:
            raise Impossible(f"{lost} requests of slot {slot} have neither started nor been dropped.")
        placed = block.box != NOBODY
        if not np.array_equal(placed, block.outcome != Outcome.NO_ROOM):
            raise Impossible(
                f"In slot {slot} a request has a box and was dropped for lack of room, or neither."
            )
