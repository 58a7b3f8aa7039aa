"""Placement written plainly, box by box and without arrays: what the fleet's quick way is checked against."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from common.images import UNPACKED_FACTOR
from common.words import Role
from master.scheduling.facts import BoxFacts
from master.scheduling.fleet import Fleet, amounts_of
from master.scheduling.request import FilesetNeed, Place, PlacementRequest, Variant
from tests.support.learnt import Learnt

MOST_SOURCES = 16


@dataclass
class PlainBox:
    """A box, and what happened to it since."""

    facts: BoxFacts
    layers: set[str] = field(init=False)
    free: list[float] = field(init=False)
    rate: float = field(init=False)  # bytes per second
    inbound: float = 0.0
    outbound: float = 0.0
    up: bool = True

    def __post_init__(self) -> None:
        self.layers = set(self.facts.layers)
        taken = amounts_of(self.facts.reserved)
        self.free = [has - used for has, used in zip(amounts_of(self.facts.capacity), taken, strict=True)]
        self.rate = max(1.0, self.facts.capacity.bandwidth_bps) / 8

    @property
    def serves(self) -> bool:
        """Whether others fetch layers there."""
        return self.up and self.facts.offers and not self.facts.central


class PlainWorld:
    """All boxes in the order of their names, and what was learnt of them.

    `fleet` is asked only which of many holders it picked as sources.
    """

    def __init__(self, boxes: Iterable[BoxFacts], fleet: Fleet, learnt: Learnt | None = None) -> None:
        self.boxes = {box.name: PlainBox(box) for box in sorted(boxes, key=lambda box: box.name)}
        self.fleet = fleet
        self.learnt = learnt or Learnt.nothing()
        for name, rate_bps in self.learnt.rates_bps.items():
            self.boxes[name].rate = rate_bps / 8
        self._sources: dict[str, list[PlainBox]] = {}
        self._filestores: dict[FilesetNeed, list[PlainBox]] = {}

    def look_again(self) -> None:
        """Something changed since the last question."""
        self._sources.clear()
        self._filestores.clear()

    def sources(self, digest: str) -> list[PlainBox]:
        """Who is asked for a layer; checks that the fleet picked as it should."""
        if digest not in self._sources:
            self._sources[digest] = self._find_sources(digest)
        return self._sources[digest]

    def _find_sources(self, digest: str) -> list[PlainBox]:
        able = [name for name, box in self.boxes.items() if box.serves and digest in box.layers]
        picked = [self.fleet.names[row] for row in self.fleet.layers.sources(digest)]
        assert set(picked) <= set(able)
        assert len(picked) == len(set(picked)) == min(len(able), MOST_SOURCES)
        return [self.boxes[name] for name in picked]

    def filestores(self, need: FilesetNeed) -> list[PlainBox]:
        """Who may serve a fileset."""
        if need not in self._filestores:
            self._filestores[need] = self._find_filestores(need)
        return self._filestores[need]

    def _find_filestores(self, need: FilesetNeed) -> list[PlainBox]:
        able = [
            box
            for box in self.boxes.values()
            if box.up and box.facts.fixed and Role.FILESTORE in box.facts.roles and not box.facts.central
        ]
        if need.held_by is None:
            return [box for box in able if (need.fileset, need.version) in box.facts.filesets]
        if need.held_by:
            return [box for box in able if box.facts.name in need.held_by]
        return [box for box in able if not box.facts.cordoned and box.free[2] >= need.room_bytes]


def apart_ms(one: Place, other: Place) -> float:
    """The round trip between two places."""
    return math.hypot(one.x_ms - other.x_ms, one.y_ms - other.y_ms) + one.height_ms + other.height_ms


def variant_for(request: PlacementRequest, box: PlainBox) -> Variant | None:
    """The first that the box runs."""
    for variant in request.variants:
        if variant.architecture == box.facts.architecture and (box.facts.zstd or not variant.zstd):
            return variant
    return None


def missing_bytes(variant: Variant, box: PlainBox) -> int:
    """What the box has to fetch."""
    return sum(layer.size_bytes for layer in variant.layers if layer.digest not in box.layers)


def room_beside(request: PlacementRequest, variant: Variant, box: PlainBox) -> bool:
    """Whether the instance, its layers and its new filesets have room on the box together."""
    needed = request.resources.disk_bytes + missing_bytes(variant, box) * (1 + UNPACKED_FACTOR)
    return needed + sum(need.room_bytes for need in request.filesets if need.is_new) <= box.free[2] + 1e-9


def is_eligible(request: PlacementRequest, box: PlainBox, world: PlainWorld) -> bool:
    """Every rule, one after the other."""
    facts = box.facts
    if not (box.up and facts.open and facts.fixed and Role.COMPUTE in facts.roles):
        return False
    if facts.full or facts.paused or facts.cordoned or facts.central or min(box.free) < -1e-9:
        return False
    if facts.name in request.excluded or (request.boxes and facts.name not in request.boxes):
        return False
    if any(facts.labels.get(key) != value for key, value in request.labels):
        return False
    if any(facts.name not in one.boxes for one in request.beside):
        return False
    if any(facts.name in one.boxes for one in request.apart):
        return False
    variant = variant_for(request, box)
    if variant is None:
        return False
    for layer in variant.layers:
        if layer.digest not in box.layers and not world.sources(layer.digest):
            return False
    for need in request.filesets:
        stores = world.filestores(need)
        if not stores or (stores == [box] and need.is_new and not room_beside(request, variant, box)):
            return False
    needs = list(amounts_of(request.resources))
    needs[2] += missing_bytes(variant, box) * (1 + UNPACKED_FACTOR)
    return all(need <= free + 1e-9 for need, free in zip(needs, box.free, strict=True))


def start_s(request: PlacementRequest, box: PlainBox, world: PlainWorld) -> float:
    """The predicted start; see master.scheduling.estimate for the formula."""
    variant = variant_for(request, box)
    assert variant is not None
    launch = world.learnt.launches.get((variant.image, box.facts.kind), 1.0)
    if box.facts.prewarmed.get(request.warm):
        launch = min(launch, 0.5)
    parts = [fetch_s(request, variant, box, world), unpack_s(variant, box, world.learnt)]
    return sum(parts) + files_s(request, box, world) + launch


def fetch_s(request: PlacementRequest, variant: Variant, box: PlainBox, world: PlainWorld) -> float:
    """Until missing layers and the person's input are there, behind what the box fetches already."""
    missing = missing_bytes(variant, box)
    if not missing and not request.input_bytes:
        return 0.0
    own = (missing + request.input_bytes + box.inbound) / box.rate
    if not missing:
        return own
    total = sum(layer.size_bytes for layer in variant.layers)
    pace = 0.0
    waits: list[float] = []
    for layer in variant.layers:
        sources = world.sources(layer.digest)
        rate = sum(source.rate for source in sources)
        if sources:
            pace += layer.size_bytes / total / rate
            waits += [source.outbound / source.rate for source in sources]
    return max(own, missing * pace + min(waits, default=0.0))


def unpack_s(variant: Variant, box: PlainBox, learnt: Learnt) -> float:
    """What the engine does after the last byte, where it lacks the image."""
    if (variant.image, box.facts.name) in learnt.unpacked:
        return 0.0
    missing = missing_bytes(variant, box)
    lying = sum(layer.size_bytes for layer in variant.layers) - missing
    return lying * learnt.there_s + missing * learnt.fetched_s


def files_s(request: PlacementRequest, box: PlainBox, world: PlainWorld) -> float:
    """To mount all filesets side by side."""
    if not request.filesets:
        return 0.0
    longest = 0.0
    for need in request.filesets:
        stores = world.filestores(need)
        if len(stores) <= 8 and not need.is_new:
            ways = [0.0 if store is box else apart_ms(store.facts.place, box.facts.place) for store in stores]
            longest = max(longest, min(ways))
    return 0.3 + 6 * longest / 1000


def cost(policy: str, request: PlacementRequest, box: PlainBox, world: PlainWorld) -> float:
    """What the box costs by a policy of ours."""
    distance = apart_ms(request.near, box.facts.place)
    if policy == "nearest":
        return distance
    if policy == "start-soonest":
        doubt = 30 * world.learnt.distrust.get(box.facts.name, 0.0)
        return start_s(request, box, world) + 0.02 * distance + doubt
    capacity = amounts_of(box.facts.capacity)
    if policy == "least-loaded":
        return max(1 - box.free[column] / capacity[column] for column in (0, 1))
    if policy == "bin-pack":
        needs = amounts_of(request.resources)
        return sum((box.free[column] - needs[column]) / capacity[column] for column in (0, 1))
    if policy == "layer-locality":
        variant = variant_for(request, box)
        assert variant is not None
        return missing_bytes(variant, box)
    assert policy == "first"
    return 0.0


def check_choice(
    policy: str, request: PlacementRequest, chosen: str | None, world: PlainWorld, *, slack: float = 1e-9
) -> int:
    """Assert that no eligible box costs less than the chosen one, nor an earlier one the same.

    Costs closer than `slack` count as the same, and then either box may be chosen. Returns how many were eligible.
    """
    world.look_again()
    costs = {
        name: cost(policy, request, box, world)
        for name, box in world.boxes.items()
        if is_eligible(request, box, world)
    }
    if chosen is None:
        assert not costs, f"nothing was chosen, though {len(costs)} boxes could"
        return 0
    assert chosen in costs, f"{chosen} was chosen and is not eligible"
    best = min(costs.values())
    assert costs[chosen] <= best + slack * max(1.0, abs(best)), f"{chosen} costs {costs[chosen]}, not {best}"
    if policy in ("first", "layer-locality"):  # exact numbers: of equals the first
        assert chosen == next(name for name, value in costs.items() if value == best)
    return len(costs)
