"""What lies on boxes: layers with timers, data, files; kept in step with the fleet that policies see."""

from __future__ import annotations

from collections import Counter

from common.words import MountMode, Resources, Role
from master.scheduling.facts import BoxFacts
from master.scheduling.fleet import DISK, KINDS, Fleet
from master.scheduling.policy import Policy, Sharing
from master.scheduling.request import FilesetNeed, Place, PlacementRequest, Variant
from master.scheduling.request import Layer as ImageLayer
from master.simulation.scenario import Keeping
from master.simulation.world import CENTRE, Application, Layer, World
from master.simulation.world import KINDS as WORLD_KINDS

ARCHITECTURE = "amd64"
AMPLE_BYTES = 2**60  # of memory, where a scenario says nothing of it: none would look like full
VERSION = 1  # of an application's data; nobody changes it


def make_fleet(world: World, policy: Policy) -> Fleet:
    """The fleet of a world at its beginning, as a policy's sharing wants it: rows as in the world."""
    shared = policy.sharing is Sharing.ALL
    rows = range(len(world.boxes)) if world.scenario.people.lends > 0 else range(world.servers.stop)
    layers: dict[int, set[str]] = {row: set() for row in rows}
    data: dict[int, set[tuple[str, int]]] = {row: set() for row in rows}
    for layer in world.layers:
        for row in world.layer_copies[layer.number] if shared else [0]:
            layers[row].add(layer.name)
    for application in world.applications:
        for row in world.data_copies[application.number] if shared else [0]:
            if application.data_bytes:
                data[row].add((application.name, VERSION))
    sizes = {layer.name: layer.size_bytes for layer in world.layers}
    sizes |= {application.name: application.data_bytes for application in world.applications}
    fleet = Fleet(len(rows), layer_room=1.0, backbone_ms=world.backbone_ms)
    fleet.set_mount(0.0)  # mounts do not delay a start
    for row in rows:
        taken = sum(sizes[name] for name in layers[row]) + sum(sizes[name] for name, _ in data[row])
        fleet.put(_facts(world, row, frozenset(layers[row]), frozenset(data[row]), taken))
        if row >= world.servers.stop:
            fleet.leave(row)
    return fleet


def _facts(
    world: World, row: int, layers: frozenset[str], data: frozenset[tuple[str, int]], taken_bytes: int
) -> BoxFacts:
    boxes, kind = world.boxes, WORLD_KINDS[world.boxes.kind[row]]
    central = kind == CENTRE
    roles = set(Role) if boxes.stores_files[row] else {Role.COMPUTE, Role.DEPOSITORY}
    return BoxFacts(
        name=world.name(row),
        roles=frozenset(roles),
        kind=KINDS[0] if central else next(item for item in KINDS if item.value == kind),
        open=bool(boxes.open[row]),
        fixed=bool(boxes.fixed[row]),
        architecture=ARCHITECTURE,
        central=central,
        place=place_of(world, row),
        capacity=Resources(
            cpu=float(boxes.compute[row]),
            memory_bytes=int(boxes.memory_bytes[row]) or AMPLE_BYTES,
            disk_bytes=max(0, int(boxes.disk_bytes[row]) - taken_bytes),
            bandwidth_bps=int(boxes.link_bps[row] * world.scenario.network.reservable),
        ),
        layers=layers,
        filesets=data,
    )


def place_of(world: World, row: int) -> Place:
    """Where a box or person is: behind its access delay in its area."""
    return Place(0.0, 0.0, float(world.boxes.access_ms[row]), int(world.boxes.area[row]))


def request_for(world: World, application: Application) -> PlacementRequest:
    """What anybody asks for with an application, from nowhere yet."""
    task = world.tasks[application.task]
    mount = world.scenario.network.mount_bps if application.data_bytes else 0
    variants: tuple[Variant, ...] = ()
    if application.layers:
        layers = tuple(ImageLayer(layer.name, layer.size_bytes) for layer in application.layers)
        variants = (Variant(application.name, ARCHITECTURE, layers),)
    filesets: tuple[FilesetNeed, ...] = ()
    if application.data_bytes:
        filesets = (FilesetNeed(application.name, VERSION, MountMode.READ_ONLY),)
    return PlacementRequest(
        resources=Resources(cpu=task.compute, bandwidth_bps=task.stream_bps + mount),
        variants=variants,
        filesets=filesets,
        input_bytes=task.input_bytes or (world.scenario.files.size_bytes if task.files else 0),
    )


def files_need(size_bytes: int, at: str | None) -> FilesetNeed:
    """New files that want a filestore with room, or (for the cloud-only baseline) the centre."""
    held_by = () if at is None else (at,)
    return FilesetNeed("files", VERSION, MountMode.READ_WRITE, held_by=held_by, room_bytes=size_bytes)


class Stock:
    """Layers on boxes. `meant` are those that are to keep a layer; they count as pinned."""

    def __init__(self, world: World, fleet: Fleet, *, shared: bool) -> None:
        self.fleet = fleet
        self._layers = {layer.name: layer for layer in world.layers}
        self._keeping: Keeping = world.scenario.keeping
        self._timer_s = self._keeping.timer_slots * world.scenario.slots.length_s
        self._used_at: dict[int, dict[str, float]] = {}
        self._in_use: Counter[tuple[int, str]] = Counter()
        self.meant: dict[str, set[int]] = {
            layer.name: set(world.layer_copies[layer.number] if shared else [0]) for layer in world.layers
        }
        self._copies: Counter[str] = Counter()
        for name, rows in self.meant.items():
            for row in rows:
                self._used_at.setdefault(row, {})[name] = 0.0
                self._copies[name] += 1
        self.evicted = 0
        self.expired = 0

    def holds(self, row: int, name: str) -> bool:
        """Whether a layer lies on a box."""
        return name in self._used_at.get(row, ())

    def held(self, row: int) -> dict[str, float]:
        """The layers on a box, with when each of them was used last."""
        return self._used_at.get(row, {})

    def gain(self, row: int, layer: Layer, now: float) -> None:
        """A layer has arrived on a box."""
        if self.holds(row, layer.name):
            return
        self._used_at.setdefault(row, {})[layer.name] = now
        self._copies[layer.name] += 1
        self.fleet.gain(row, layer.name)
        self.fill(row, layer.size_bytes)

    def fill(self, row: int, size_bytes: float) -> None:
        """So much of a box's lent space is used from now on; negative frees it."""
        capacity = self.fleet.capacity[:, row].copy()
        capacity[DISK] -= size_bytes
        self.fleet.set_capacity(row, capacity.tolist())

    def touch(self, row: int, name: str, now: float) -> None:
        """A layer was used for a launch or served: its timer begins anew."""
        if self.holds(row, name):
            self._used_at[row][name] = now

    def use(self, row: int, layers: tuple[Layer, ...]) -> None:
        """An instance on a box needs these from now on."""
        for layer in layers:
            self._in_use[row, layer.name] += 1

    def unuse(self, row: int, layers: tuple[Layer, ...]) -> None:
        """It does not need them any more."""
        for layer in layers:
            self._in_use[row, layer.name] -= 1

    def make_room(self, row: int) -> None:
        """After a task: while not more than `free_bytes` are free, what was used longest ago goes."""
        for name, _ in sorted(self.held(row).items(), key=lambda item: (item[1], item[0])):
            if self.fleet.capacity[DISK, row] > self._keeping.free_bytes:
                return
            if self._may_go(row, name):
                self._drop(row, name)
                self.evicted += 1

    def expire(self, row: int, now: float) -> None:
        """What nobody used for as long as its timer goes."""
        late = [name for name, used in self.held(row).items() if now - used >= self._timer_s]
        for name in sorted(late):
            if self._may_go(row, name):
                self._drop(row, name)
                self.expired += 1

    def forget(self, row: int, layers: tuple[Layer, ...]) -> None:
        """A box that keeps nothing drops what an instance needed, but for what others there need."""
        for layer in layers:
            if self.holds(row, layer.name) and self._may_go(row, layer.name):
                self._drop(row, layer.name)

    def _may_go(self, row: int, name: str) -> bool:
        return self._in_use[row, name] <= 0 and row not in self.meant[name] and self._copies[name] > 1

    def _drop(self, row: int, name: str) -> None:
        del self._used_at[row][name]
        self._copies[name] -= 1
        self.fleet.lose(row, name)
        self.fill(row, -self._layers[name].size_bytes)
