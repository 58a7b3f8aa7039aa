"""Who asks when, and how far everybody is from every server: what all programs of the benchmark get to see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from master.simulation.demand import Demand
from master.simulation.scenario import Scenario
from master.simulation.streams import streams
from master.simulation.world import make_world


@dataclass(frozen=True)
class Wishes:
    """`order[slot]` are clients in the order in which they ask; `delay_ms` (clients, servers)."""

    slot_s: float
    places: list[int]  # per server
    delay_ms: NDArray[np.float64]
    order: list[list[int]]


def draw(scenario: Scenario, seed: int) -> Wishes:
    """The wishes of the plain scenario; one task type, one slot each."""
    rngs = streams(seed)
    world = make_world(scenario, rngs)
    demand, boxes = Demand(world, rngs), world.boxes
    servers, people = np.array(world.servers), np.array(world.people)
    delay = boxes.access_ms[people][:, None] + boxes.access_ms[servers][None, :]
    delay += world.backbone_ms[boxes.area[people]][:, boxes.area[servers]]
    order = []
    for slot in range(scenario.slots.count):
        if slot:
            demand.turn_over()
        demand.lending()
        order.append((demand.slot(slot * scenario.slots.length_s).person - people[0]).tolist())
    places = [int(boxes.compute[server] // 5) for server in servers]
    return Wishes(scenario.slots.length_s, places, delay, order)
