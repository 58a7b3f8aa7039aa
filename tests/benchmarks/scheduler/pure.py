"""Decisions per second of the pure part, on one core: of its own processor time, so that other work counts little."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from master.scheduling import generate
from master.scheduling.fleet import Fleet, amounts_of
from master.scheduling.holders import NOBODY, Indices
from master.scheduling.place import place
from master.scheduling.policy import load_policy
from master.scheduling.request import Placement, PlacementRequest
from tests.benchmarks.lines import Case
from tests.support.learnt import Learnt, wanting, with_prewarmed
from tests.support.plain_placement import PlainWorld, check_choice

POLICY = "start-soonest"
APPLICATIONS = 500
LAYERS = 50_000
# How many instances run at once, per box: an instance ends when so many are there.
RUNNING = 0.5
FETCHING = 32  # how many placements ago the layers of one have arrived
NEEDED = {10_000: 5_000.0, 100_000: 400.0}  # decisions per second
P99_MS = 2.0
ROUNDS = 5


@dataclass(frozen=True)
class Running:
    """An instance as the driver remembers it."""

    row: int
    request: PlacementRequest
    missing_bytes: float
    sources: Indices


class Driver:
    """Asks for placements, and lets what follows from them happen."""

    def __init__(self, boxes: int, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.catalogue = generate.applications(self.rng, APPLICATIONS, layers=LAYERS)
        facts = generate.boxes(self.rng, boxes, self.catalogue)
        facts = with_prewarmed(self.rng, facts, self.catalogue)
        learnt = Learnt.draw(self.rng, self.catalogue, facts)
        self.fleet = Fleet.build(facts)
        learnt.tell(self.fleet)
        self.world = PlainWorld(facts, self.fleet, learnt)
        self.policy = load_policy(POLICY)
        self.most_running = int(boxes * RUNNING)
        self.running: deque[Running] = deque()
        self.fetching: deque[Running] = deque()
        self.eligible: list[int] = []
        self.nowhere = 0

    def requests(self, count: int) -> list[PlacementRequest]:
        """What is asked for, made before the clock starts."""
        drawn = [generate.request(self.rng, self.catalogue) for _ in range(count)]
        return [wanting(self.rng, request) for request in drawn]

    def decide(self, request: PlacementRequest) -> Placement | None:
        """One decision, and its reservation."""
        decision = place(self.policy, request, self.fleet, self.rng, most=1)
        if not decision.placements:
            self.nowhere += 1
            return None
        placement = decision.placements[0]
        self._begin(request, placement)
        return placement

    def _begin(self, request: PlacementRequest, placement: Placement) -> None:
        row = self.fleet.row_of[placement.compute]
        self.fleet.reserve(row, amounts_of(request.resources))
        sources = self._sources(placement) if placement.missing_bytes else NOBODY
        self.fleet.begin_fetch(row, placement.missing_bytes, sources)
        one = Running(row, request, placement.missing_bytes, sources)
        self.fetching.append(one)
        self.running.append(one)
        if len(self.fetching) > FETCHING:
            self._arrive(self.fetching.popleft())
        if len(self.running) > self.most_running:
            ended = self.running.popleft()
            self.fleet.release(ended.row, amounts_of(ended.request.resources))

    def _sources(self, placement: Placement) -> Indices:
        names = {name for holders in placement.depositories.values() for name in holders}
        return self.fleet.rows_of(names - {placement.compute})

    def _arrive(self, one: Running) -> None:
        self.fleet.end_fetch(one.row, one.missing_bytes, one.sources)
        for layer in self.fleet.variant_for(one.request.variants, one.row).layers:
            self.fleet.gain(one.row, layer.digest)

    def check(self, request: PlacementRequest) -> None:
        """Place it, and compare with the plain program over the same facts."""
        self._retell()
        placement = place(self.policy, request, self.fleet, self.rng, most=1).placements
        self.eligible.append(
            check_choice(POLICY, request, placement[0].compute if placement else None, self.world)
        )

    def _retell(self) -> None:
        for name, box in self.world.boxes.items():
            row = self.fleet.row_of[name]
            box.layers = self.fleet.layers.held(row)
            box.free = [float(amount) for amount in self.fleet.free[:, row]]
            box.inbound = float(self.fleet.inbound_bytes[row])
            box.outbound = float(self.fleet.outbound_bytes[row])


@dataclass(frozen=True)
class Measured:
    """One fleet."""

    boxes: int
    per_second: Sequence[float]  # of each round
    p99_ms: Sequence[float]
    eligible: float


def measure(boxes: int, decisions: int, checked: int) -> Measured:
    """Warm up (columns of all images are made), then the clock, then the checks."""
    driver = Driver(boxes)
    for request in driver.requests(4 * APPLICATIONS):
        driver.decide(request)
    driver.nowhere = 0
    rates, p99s = [], []
    for _ in range(ROUNDS):
        took = [_timed(driver, request) for request in driver.requests(decisions // ROUNDS)]
        rates.append(len(took) / sum(took))
        p99s.append(float(np.percentile(took, 99)) * 1000)
    for request in driver.requests(checked):
        driver.check(request)
        driver.decide(request)
    print(f"{boxes} boxes: {driver.nowhere} of {decisions} found no place", flush=True)
    return Measured(boxes, rates, p99s, statistics.mean(driver.eligible or [0]))


def _timed(driver: Driver, request: PlacementRequest) -> float:
    began = time.thread_time()
    driver.decide(request)
    return time.thread_time() - began


def cases(sizes: Sequence[int], decisions: int, checked: int) -> list[Case]:
    """One fleet after the other; the last line says how time grows between the two largest."""
    measured = [measure(boxes, decisions, checked) for boxes in sorted(sizes)]
    found = [case for result in measured for case in _of(result, checked)]
    if len(measured) > 1:
        found.append(_growth(measured[-2], measured[-1]))
    return found


def _of(result: Measured, checked: int) -> list[Case]:
    rival = f"{checked} choices checked against a plain program, {result.eligible:.0f} eligible"
    name = f"{POLICY}, {result.boxes} boxes"
    rate, p99 = statistics.median(result.per_second), statistics.median(result.p99_ms)
    return [
        Case(name, rate, "decisions/s", rival, result.per_second, at_least=NEEDED.get(result.boxes)),
        Case(
            f"{name}, p99",
            p99,
            "ms",
            rival,
            result.p99_ms,
            at_most=P99_MS if result.boxes == 10_000 else None,
        ),
    ]


def _growth(small: Measured, large: Measured) -> Case:
    """How much more time a decision takes, over how many more boxes there are."""
    more = large.boxes / small.boxes
    slower = [one / two / more for one, two in zip(small.per_second, large.per_second, strict=True)]
    name = f"{POLICY}, time from {small.boxes} to {large.boxes} boxes"
    return Case(name, statistics.median(slower), "x", "growing as the boxes do", slower, at_most=1.0)
