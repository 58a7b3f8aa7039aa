"""Which boxes measure each other. Pure.

Pairs are mutual, so that every round trip has two witnesses. Half of a box's peers are near it, which tells
neighbours apart; the other half are anywhere, which keeps the map whole: Dabek et al. ("Communication patterns")
find that boxes which speak to near ones alone draw maps that are right nearby and wrong at large.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

from common.peers import MOST_PEERS
from common.words import Coordinate, distance_ms

# Peers on either side of a box in a shuffled ring.
RING_STEPS = MOST_PEERS // 4
# Neighbours are looked for among so many that follow a box along a line through the map.
WINDOW = 16


def pairs(places: Mapping[str, Coordinate], chance: random.Random) -> dict[str, list[str]]:
    """The peers of each box, at most `MOST_PEERS`; a box is its peers' peer."""
    boxes = sorted(places)
    peers: dict[str, set[str]] = {box: set() for box in boxes}

    def join(one: str, other: str) -> None:
        if one != other and max(len(peers[one]), len(peers[other])) < MOST_PEERS:
            peers[one].add(other)
            peers[other].add(one)

    ring = list(boxes)
    chance.shuffle(ring)
    for step in range(1, RING_STEPS + 1):
        for number, box in enumerate(ring):
            join(box, ring[(number + step) % len(ring)])
    for one, other in _neighbours(places, boxes, chance):
        join(one, other)
    return {box: sorted(found) for box, found in peers.items()}


def _neighbours(
    places: Mapping[str, Coordinate], boxes: list[str], chance: random.Random
) -> list[tuple[str, str]]:
    """Pairs that are near each other, the nearest first. Looking along one line finds most, not all of them."""
    angle = chance.uniform(0, math.pi)
    across, along = math.sin(angle), math.cos(angle)
    line = sorted(boxes, key=lambda box: places[box].x_ms * along + places[box].y_ms * across)
    found = [
        (distance_ms(places[box], places[other]), box, other)
        for number, box in enumerate(line)
        for other in line[number + 1 : number + 1 + WINDOW]
    ]
    return [(one, other) for _, one, other in sorted(found)]
