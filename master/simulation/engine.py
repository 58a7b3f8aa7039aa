"""One run: a scenario, a policy, a seed. A slot begins with ends and with people who come and go; then they ask."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from master.scheduling.fleet import DISK, Fleet, amounts_of
from master.scheduling.place import place
from master.scheduling.policy import Policy, Scope, Sharing, StaticPolicy
from master.scheduling.request import PlacementRequest
from master.simulation.checks import check
from master.simulation.clock import Clock
from master.simulation.copies import Copies
from master.simulation.demand import Asked, Demand
from master.simulation.instant import choose_all
from master.simulation.links import Links, make_links
from master.simulation.record import NOBODY, Block, Outcome
from master.simulation.run import Run
from master.simulation.runs import Runs
from master.simulation.scenario import Asking, Scenario
from master.simulation.starting import Start, Stepwise
from master.simulation.stock import Stock, files_need, make_fleet, place_of, request_for
from master.simulation.streams import Purpose, streams
from master.simulation.tally import Tally
from master.simulation.traces import TraceDemand, read_trace
from master.simulation.workshop import Workshop
from master.simulation.world import Application, Bools, World, make_world

_DOUBT = 2  # good ends that every box is given in advance, so that one bad end condemns nobody
_IDLE_S = 1e-6  # a link that is busy for less is idle


@dataclass(frozen=True)
class Result:
    """What a run leaves behind."""

    scenario: Scenario
    policy: str
    seed: int
    world: World
    blocks: list[Block]
    tally: Tally
    evicted: int
    expired: int


def simulate(
    scenario: Scenario, policy: Policy, seed: int, *, progress: Callable[[int], None] | None = None
) -> Result:
    """Run a scenario once. `progress` is called after each slot with its number.

    The same scenario, policy and seed give the same result, bit for bit. Raises Impossible if an invariant breaks.
    """
    run = Simulation(scenario, policy, seed)
    for slot in range(run.slots):
        run.slot(slot)
        if progress is not None:
            progress(slot)
    run.finish()
    return Result(
        scenario, policy.name, seed, run.world, run.blocks, run.tally, run.stock.evicted, run.stock.expired
    )


class Simulation:
    """A world, the fleet that the policy sees of it, and all that goes on."""

    def __init__(self, scenario: Scenario, policy: Policy, seed: int) -> None:
        rngs = streams(seed)
        self.world: World = make_world(scenario, rngs)
        self._scenario, self._policy = scenario, policy
        self._rng = rngs[Purpose.POLICY]
        self.slots = scenario.slots.count
        self._demand: Demand | TraceDemand = Demand(self.world, rngs)
        if scenario.trace is not None:
            self._demand = TraceDemand(self.world, read_trace(scenario.trace, list(scenario.tasks)))
            self.slots = self._demand.slots
        self.clock = Clock()
        self.fleet: Fleet = make_fleet(self.world, policy)
        self.links: Links = make_links(
            scenario.network.sharing, self.clock, self.world.boxes.link_bps * scenario.network.goodput
        )
        self.tally = Tally(self.world)
        shared = policy.sharing is Sharing.ALL
        self.stock = Stock(self.world, self.fleet, shared=shared)
        parts = (self.world, self.clock, self.links, self.fleet, self.stock, self.tally)
        self._start = self._make_start()
        self.runs = Runs(
            *parts, keeps_layers=policy.keeps_layers, start=self._start, on_end=self._serve_waiting
        )
        self._waiting: deque[tuple[int, Asked, Block, int]] = deque()
        self._copies = Copies(*parts, busy=lambda row: self.runs.on.get(row, 0) > 0) if shared else None
        self._requests = [request_for(self.world, item) for item in self.world.applications]
        self._lends = scenario.people.lends > 0
        self._bulk: dict[int, list[tuple[PlacementRequest, NDArray[np.intp]]]] = {}
        self._away: set[int] = set()
        self._carried: dict[int, float] = {}
        self.blocks: list[Block] = []

    def _make_start(self) -> Start:
        steps = self._scenario.cost.steps
        if steps is None:
            return Start(self.clock, self._scenario)
        workshop = Workshop(self.world, self.clock, self.stock, steps)
        return Stepwise(self.clock, self._scenario, workshop, steps)

    # --- a slot --------------------------------------------------------------------------------------------

    def slot(self, number: int) -> None:
        """Everything that happens in one slot."""
        length_s = self._scenario.slots.length_s
        self._end(number)
        if number:
            self._demand.turn_over()
        drawn = self._demand.lending()
        if self._lends:
            self._come_and_go(number)
            self._lend(drawn)
        for row in range(len(self.fleet)):
            self.stock.expire(row, self.clock.now)
        if self._copies is not None:
            self._copies.repair(number, self._is_online)
        asked = self._demand.slot(number * length_s)
        block = Block(asked, steps=self._scenario.cost.steps is not None)
        self.blocks.append(block)
        if self._scenario.people.asking is Asking.AT_ONCE and asked.lasts_s is None:
            self._decide(number, asked, block)
        else:
            for at in range(len(asked)):
                self.clock.at(float(asked.at_s[at]), self._asked, number, asked, block, at)
        self.clock.run_until((number + 1) * length_s)
        self._measure(length_s)
        check(self.world, self.fleet, self.links)

    def finish(self) -> None:
        """End everything that still runs, and see that nothing got lost."""
        self._end(self.slots)
        for _, _, block, at in self._waiting:
            block.outcome[at] = Outcome.NO_ROOM
        self._waiting.clear()
        for run in list(self.runs.live):
            self.runs.end(run)
        if self._scenario.cost.steps is not None:
            self.clock.run_out()  # what takes a while to end
        for slot in list(self._bulk):
            self._release_bulk(slot)
        if self._copies is not None:
            self._copies.stop()
        check(self.world, self.fleet, self.links, self.blocks, over=True)

    def _end(self, slot: int) -> None:
        """What did not start within its slot is dropped; what has had its slots ends."""
        # What was asked in the slot that is over; a trace knows no slots, there each request has one's length.
        traced = self._scenario.trace is not None
        patient_since = self.clock.now - (self._scenario.slots.length_s if traced else 0.0)
        for run in list(self.runs.live):
            if not run.started and run.asked_at <= patient_since + _IDLE_S:
                self.runs.end(run, Outcome.LATE)
            elif run.end_slot <= slot and run.started and run.lasts_s is None:
                self.runs.end(run)
        self._release_bulk(slot)

    def _release_bulk(self, slot: int) -> None:
        for request, rows in self._bulk.pop(slot, ()):
            self._reserve(request, rows, -1)

    def _is_online(self, row: int) -> bool:
        return row < self.world.servers.stop or bool(self._demand.online[row - self.world.people.start])

    def _come_and_go(self, slot: int) -> None:
        """Devices go offline and what they served ends; others return with their content."""
        gone = {row for row in self.world.people if not self._is_online(row)}
        for run in list(self.runs.live):
            if run.box in gone or run.store in gone:
                self._distrust(run.box if run.box in gone else run.store)
                self.runs.end(run, Outcome.BROKEN)
            elif run.person in gone and run.to_arrive:
                self.runs.end(run, Outcome.LEFT)
        for row in self.world.people:
            if row in gone:
                if self._present(row):
                    self.fleet.leave(row)
                if self._copies is not None and row not in self._away:
                    self._copies.went(row, slot)
                self._away.add(row)
            elif row in self._away:
                self._away.discard(row)
                if self._copies is not None:
                    self._copies.returned(row)

    def _distrust(self, row: int | None) -> None:
        """History lowers a box's standing: one that broke too much counts as unstable from then on."""
        if row is None:
            return
        self.tally.broken[row] += 1
        broken = self.tally.broken[row]
        self.fleet.set_distrust(row, broken / (broken + self.runs.ended[row] + _DOUBT))
        if self.tally.broken[row] == self._scenario.keeping.distrust_after:
            self.fleet.set_fixed(row, False)

    def _present(self, row: int) -> bool:
        return bool(self.fleet.up[row])

    def _lend(self, drawn: Bools) -> None:
        """Idle devices become workers, or stop being ones; who serves somebody stays."""
        for row in self.world.people:
            if row in self._away:
                continue
            serves = self.runs.on.get(row, 0) > 0 or (self._present(row) and self.links.load_s[row] > _IDLE_S)
            lends = serves or bool(drawn[row - self.world.people.start])
            if lends and not self._present(row):
                self.fleet.come_back(row)
            elif not lends and self._present(row):
                self.fleet.leave(row)

    # --- requests ------------------------------------------------------------------------------------------

    def _decide(self, slot: int, asked: Asked, block: Block) -> None:
        """All requests of one instant, in their order. Room only shrinks meanwhile: once no box can take an
        application, everybody behind who wants it is dropped without asking again."""
        if self._is_bulk():
            self._decide_bulk(slot, asked, block)
            return
        closed: set[int] = set()
        for at, application in enumerate(asked.application):
            if application in closed:
                continue
            if not self._one(slot, asked, block, at):
                closed.add(int(application))
                if len(closed) == len(self.world.applications):
                    break
        block.outcome[np.isin(asked.application, list(closed)) & (block.box == NOBODY)] = Outcome.NO_ROOM

    def _asked(self, slot: int, asked: Asked, block: Block, at: int) -> None:
        """Somebody asks; the decision comes a little later where that takes time."""
        if not self._scenario.people.queue:
            self._start.ask(lambda: self._one(slot, asked, block, at))
            return

        def wait() -> None:
            self._waiting.append((slot, asked, block, at))
            self._serve_waiting()

        self._start.ask(wait)

    def _serve_waiting(self) -> None:
        """Place those who wait, in their order; who fits may pass who does not."""
        for entry in list(self._waiting):
            slot, asked, block, at = entry
            if self._one(slot, asked, block, at):
                self._waiting.remove(entry)
            else:
                block.outcome[at] = Outcome.OPEN

    def _one(self, slot: int, asked: Asked, block: Block, at: int) -> bool:
        """Place one request; False if no box can take it now."""
        application = self.world.applications[asked.application[at]]
        person = int(asked.person[at])
        request = self._request(application, person)
        if asked.cpu is not None and asked.memory_bytes is not None:
            amounts = {"cpu": float(asked.cpu[at]), "memory_bytes": int(asked.memory_bytes[at])}
            request = replace(request, resources=request.resources.model_copy(update=amounts))
        self._show_load()
        decision = place(self._policy, request, self.fleet, self._rng, most=1)
        if not decision.placements:
            block.outcome[at] = Outcome.NO_ROOM
            return False
        chosen = decision.placements[0]
        rows = self.fleet.row_of
        box = rows[chosen.compute]
        block.box[at] = box
        block.latency_ms[at] = self.world.path_ms(person, box)
        run = Run(
            block, at, application, person, box,
            end_slot=slot + int(asked.lasts_slots[at]),
            asked_at=float(asked.at_s[at]),
            store=next((rows[name] for name in chosen.filestores.values()), None),
            lasts_s=None if asked.lasts_s is None else float(asked.lasts_s[at]),
            cpu=request.resources.cpu,
            memory_bytes=request.resources.memory_bytes,
            salt=int(asked.salt[at]),
        )  # fmt: skip
        self.runs.begin(
            run, {name: [rows[box] for box in boxes] for name, boxes in chosen.depositories.items()}
        )
        return True

    def _request(self, application: Application, person: int) -> PlacementRequest:
        request = replace(self._requests[application.number], near=place_of(self.world, person))
        task = self.world.tasks[application.task]
        if task.files:
            at = self.fleet.names[0] if self._policy.scope is Scope.CENTRE else None
            # A box that computes and stores needs room for the layers and the files together.
            layers = sum(layer.size_bytes for layer in application.layers)
            need = files_need(task.files * self._scenario.files.size_bytes + layers, at)
            request = replace(request, filesets=(*request.filesets, need))
        return request

    def _show_load(self) -> None:
        """What a link is busy with counts both ways, for up and down share it."""
        rows = len(self.fleet)
        self.fleet.set_backlogs(self.links.load_s[:rows] / self.fleet.s_per_byte[:rows])

    def _is_bulk(self) -> bool:
        """Whether whole instants can be decided at once: static costs, one application that is nothing but room, and
        boxes that never leave."""
        task = self.world.tasks[0]
        moves = task.layers or task.data_bytes or task.input_bytes or task.stream_bps or task.files
        plain = len(self.world.applications) == 1 and not moves
        static = self._scenario.trace is None and not self._lends
        return plain and static and isinstance(self._policy, StaticPolicy)

    def _decide_bulk(self, slot: int, asked: Asked, block: Block) -> None:
        assert isinstance(self._policy, StaticPolicy)  # noqa: S101 - told to the type checker
        boxes, request = self.world.boxes, self._requests[0]
        places = np.zeros((len(asked), 4))
        places[:, 2], places[:, 3] = boxes.access_ms[asked.person], boxes.area[asked.person]
        block.box[:] = chosen = choose_all(self._policy, request, places, self.fleet)
        placed = np.flatnonzero(chosen >= 0)
        rows, people = chosen[placed], asked.person[placed]
        block.outcome[:] = Outcome.NO_ROOM
        block.outcome[placed] = Outcome.STARTED
        block.layers_s[placed] = block.traffic_s[placed] = 0.0
        block.launch_s[placed] = self._scenario.cost.launch_s
        between = self.world.backbone_ms[boxes.area[people], boxes.area[rows]]
        block.latency_ms[placed] = boxes.access_ms[people] + boxes.access_ms[rows] + between
        self._reserve(request, rows, 1)
        self._count_compute(rows, asked.lasts_slots[placed], request.resources.cpu)
        for lasts in np.unique(asked.lasts_slots[placed]):
            ending = rows[asked.lasts_slots[placed] == lasts]
            self._bulk.setdefault(slot + int(lasts), []).append((request, ending))

    def _count_compute(self, rows: NDArray[np.intp], lasts: NDArray[np.int16], compute: float) -> None:
        left = np.minimum(lasts, self.slots - len(self.blocks) + 1)
        for row in np.unique(rows):
            slots = int(left[rows == row].sum())
            used_s = slots * self._scenario.slots.length_s
            self.tally.used["compute"][self.tally.kind(int(row))] += compute * used_s

    def _reserve(self, request: PlacementRequest, rows: NDArray[np.intp], sign: int) -> None:
        """Reserve (or with -1 release) the request's room once per entry of `rows`."""
        amounts = np.array(amounts_of(request.resources))
        for row, count in zip(*np.unique(rows, return_counts=True), strict=True):
            self.fleet.reserve(int(row), (sign * int(count) * amounts).tolist())

    # --- measures ------------------------------------------------------------------------------------------

    def _measure(self, length_s: float) -> None:
        """What workers offered and what was used of it in the slot that ends."""
        fleet, tally, boxes = self.fleet, self.tally, self.world.boxes
        for row in np.flatnonzero(fleet.up):
            kind = tally.kind(int(row))
            link = self.links.of(int(row))
            link.settle(self.clock.now)
            carried = link.moved + link.held_bytes
            tally.worker_slots[kind] += 1
            if boxes.open[row] and boxes.fixed[row]:
                tally.offered["compute"][kind] += boxes.compute[row] * length_s
            tally.offered["disk"][kind] += boxes.disk_bytes[row] * length_s
            taken = boxes.disk_bytes[row] - fleet.capacity[DISK, row] + fleet.reserved[DISK, row]
            tally.used["disk"][kind] += taken * length_s
            tally.offered["link"][kind] += boxes.link_bps[row] * length_s / 8
            tally.used["link"][kind] += carried - self._carried.get(int(row), 0.0)
            self._carried[int(row)] = carried
