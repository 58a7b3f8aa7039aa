"""What a scenario and a seed make: devices, backbone, catalogue, and who holds what at the beginning."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from common.errors import BadInput
from common.words import BoxKind
from master.simulation.scenario import Kind, Scenario, Task
from master.simulation.streams import Purpose

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CENTRE = "centre"
KINDS = (CENTRE, *(kind.value for kind in BoxKind))


@dataclass(frozen=True)
class Layer:
    """A layer that exists, by its number in the world."""

    number: int
    name: str
    size_bytes: int
    files: int = 1


@dataclass(frozen=True)
class Application:
    """An application of the catalogue: a task with layers drawn from the pools."""

    number: int
    name: str
    task: int
    layers: tuple[Layer, ...]
    data_bytes: int


@dataclass
class Boxes:
    """All devices as arrays. Rows: the centre, the servers, then a device per person."""

    kind: NDArray[np.int8]
    compute: Floats
    memory_bytes: Floats
    disk_bytes: Floats
    link_bps: Floats
    access_ms: Floats
    area: NDArray[np.int32]
    open: Bools
    fixed: Bools
    stores_files: Bools

    def __len__(self) -> int:
        return len(self.kind)

    def count(self, kind: str) -> int:
        """How many there are of a kind."""
        return int((self.kind == KINDS.index(kind)).sum())


@dataclass
class World:
    """Everything that is drawn before the first slot. `layer_copies` and `data_copies` are rows per number."""

    scenario: Scenario
    boxes: Boxes
    servers: range
    people: range
    backbone_ms: Floats
    tasks: tuple[Task, ...]
    layers: tuple[Layer, ...]
    applications: tuple[Application, ...]
    layer_copies: list[list[int]] = field(default_factory=list)
    data_copies: list[list[int]] = field(default_factory=list)

    def path_ms(self, one: int, other: int) -> float:
        """The delay between two boxes; none to itself."""
        if one == other:
            return 0.0
        access, area, between = self._ways
        return access[one] + access[other] + between[area[one]][area[other]]

    @cached_property
    def _ways(self) -> tuple[list[float], list[int], list[list[float]]]:
        """Delays as lists, from which single values come quicker than from arrays."""
        return self.boxes.access_ms.tolist(), self.boxes.area.tolist(), self.backbone_ms.tolist()

    def name(self, row: int) -> str:
        """What a box is called; names sort like rows."""
        kind = KINDS[self.boxes.kind[row]]
        own = list(self.scenario.boxes)[row - 1 : row]
        return f"{row:07d}-{own[0] if own and row else kind}"


def make_world(scenario: Scenario, rngs: dict[Purpose, np.random.Generator]) -> World:
    """Draw a world; raises BadInput if what has to be on servers does not fit there."""
    boxes = _boxes(scenario, rngs[Purpose.DEVICES])
    servers = range(1, 1 + len(scenario.boxes) + scenario.servers.count)
    people = range(servers.stop, len(boxes))
    layers, applications = _catalogue(scenario, rngs[Purpose.CATALOGUE])
    world = World(
        scenario=scenario,
        boxes=boxes,
        servers=servers,
        people=people,
        backbone_ms=_backbone(scenario, rngs[Purpose.BACKBONE]),
        tasks=tuple(scenario.tasks.values()),
        layers=layers,
        applications=applications,
    )
    _spread(world, rngs[Purpose.COPIES])
    return world


def _boxes(scenario: Scenario, rng: np.random.Generator) -> Boxes:
    groups: list[tuple[str, Kind, int]] = [(CENTRE, scenario.master or scenario.servers, 1)]
    groups += [(BoxKind.SERVER.value, box, 1) for box in scenario.boxes.values()]
    groups.append((BoxKind.SERVER.value, scenario.servers, scenario.servers.count))
    devices = scenario.people.devices
    counts = _portions(scenario.people.count, [device.share for device in devices.values()])
    groups += [
        (kind.value, device, count) for (kind, device), count in zip(devices.items(), counts, strict=True)
    ]
    kinds = np.repeat(
        np.array([KINDS.index(name) for name, _, _ in groups], dtype=np.int8), [n for *_, n in groups]
    )
    amounts = {
        name: np.concatenate([getattr(kind, name).draw(rng, count) for _, kind, count in groups])
        for name in ("compute", "disk_bytes", "link_bps", "access_ms", "memory_bytes")
    }
    shares = {
        name: np.concatenate([_share(getattr(kind, name), count, rng) for _, kind, count in groups])
        for name in ("open", "fixed")
    }
    stores = np.repeat(np.array([kind.stores_files for _, kind, _ in groups]), [n for *_, n in groups])
    # People of all kinds live mixed; the centre has an area, and so a backbone, of its own.
    first = len(kinds) - scenario.people.count
    order = np.concatenate([np.arange(first), first + rng.permutation(scenario.people.count)])
    areas = scenario.network.areas
    area = np.concatenate([[areas], np.arange(first - 1) % areas, np.arange(scenario.people.count) % areas])
    return Boxes(
        kind=kinds[order], area=area.astype(np.int32), stores_files=stores[order],
        **{name: values[order] for name, values in (amounts | shares).items()},
    )  # fmt: skip


def _portions(total: int, shares: list[float]) -> list[int]:
    """Whole numbers in these shares that add up to the total (largest remainder)."""
    exact = [total * share for share in shares]
    counts = [int(value + 1e-9) for value in exact]
    rest = sorted(range(len(shares)), key=lambda at: (counts[at] - exact[at], at))
    for at in rest[: total - sum(counts)]:
        counts[at] += 1
    return counts


def _share(share: float, count: int, rng: np.random.Generator) -> Bools:
    """So many of `count`, drawn by lot."""
    chosen = np.zeros(count, dtype=bool)
    chosen[: round(share * count)] = True
    return rng.permutation(chosen)


def _backbone(scenario: Scenario, rng: np.random.Generator) -> Floats:
    size = scenario.network.areas + 1
    upper = np.triu_indices(size, 1)
    delays = np.zeros((size, size))
    delays[upper] = scenario.network.backbone_ms.draw(rng, len(upper[0]))
    both: Floats = delays + delays.T
    return both


def _catalogue(
    scenario: Scenario, rng: np.random.Generator
) -> tuple[tuple[Layer, ...], tuple[Application, ...]]:
    pools: dict[str, list[Layer]] = {}
    layers: list[Layer] = []
    for name, pool in scenario.pools.items():
        pools[name] = [
            Layer(len(layers) + at, f"{name}-{at}", pool.size_bytes, pool.files) for at in range(pool.count)
        ]
        layers += pools[name]
    applications: list[Application] = []
    for number, (name, task) in enumerate(scenario.tasks.items()):
        for at in range(task.applications):
            chosen = tuple(pools[pool][int(rng.integers(len(pools[pool])))] for pool in task.layers)
            applications.append(
                Application(len(applications), f"{name}-{at}", number, chosen, task.data_bytes)
            )
    return tuple(layers), tuple(applications)


def _spread(world: World, rng: np.random.Generator) -> None:
    """Put the first copies on boxes: one on a server, the others on any that may hold them."""
    boxes = world.boxes
    room = boxes.disk_bytes.copy()
    edge = np.arange(len(boxes)) > 0
    stores = edge & boxes.fixed & boxes.stores_files
    for application in world.applications:
        chosen = _holders(world, application.data_bytes, stores, room, rng, application.name)
        world.data_copies.append(chosen)
    lends = edge if world.scenario.people.lends > 0 else edge & (np.arange(len(boxes)) < world.servers.stop)
    number = {box: 1 + at for at, box in enumerate(world.scenario.boxes)}
    told = {name: [number[box] for box in pool.on] for name, pool in world.scenario.pools.items()}
    unpacked = [number[box] for box in world.scenario.unpacked_on]
    for layer in world.layers:
        rows = told[layer.name.rpartition("-")[0]]
        rows = rows or _holders(world, layer.size_bytes, lends, room, rng, layer.name)
        world.layer_copies.append(rows + [row for row in unpacked if row not in rows])


def _holders(
    world: World, size: int, able: Bools, room: Floats, rng: np.random.Generator, what: str
) -> list[int]:
    if size == 0:
        return []
    roomy = room - size > world.scenario.keeping.free_bytes
    servers = rng.permutation(np.array(world.servers))
    if not roomy[servers].any():
        raise BadInput(f"No server has room for a copy of {what} ({size} bytes).", field="servers.disk_bytes")
    first = int(servers[roomy[servers]][0])
    others = rng.permutation(np.flatnonzero(able & roomy))
    chosen = [first, *others[others != first][: world.scenario.keeping.copies - 1].tolist()]
    room[chosen] -= size
    return chosen
