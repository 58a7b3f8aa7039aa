"""Who asks for what, slot by slot. Drawn for everybody, so that it never depends on what a policy did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from master.simulation.scenario import Asking
from master.simulation.streams import Purpose
from master.simulation.world import Bools, Floats, World


@dataclass(frozen=True)
class Asked:
    """The requests of one slot, in the order in which they come. `person` are rows of boxes."""

    at_s: Floats
    person: NDArray[np.int32]
    application: NDArray[np.int32]
    lasts_slots: NDArray[np.int16]
    salt: NDArray[np.int64]  # from which a request's own numbers are drawn
    # What a trace says of each request, instead of its task; with `lasts_s` it ends after that, in no slot's rhythm.
    lasts_s: Floats | None = None
    cpu: Floats | None = None
    memory_bytes: Floats | None = None

    def __len__(self) -> int:
        return len(self.person)


class Demand:
    """Draws what people do. Call once per slot, in order."""

    def __init__(self, world: World, rngs: dict[Purpose, np.random.Generator]) -> None:
        self._world = world
        self._rngs = rngs
        count = len(world.people)
        self.online: Bools = rngs[Purpose.ONLINE].random(count) < world.scenario.people.online.first
        tasks = world.tasks
        weights = np.array([task.weight for task in tasks])
        self._until = np.cumsum(weights) / weights.sum()
        self._applications = np.array([task.applications for task in tasks])
        self._first = np.cumsum(self._applications) - self._applications

    def turn_over(self) -> None:
        """People come and go: one step of the chain."""
        rule = self._world.scenario.people.online
        drawn = self._rngs[Purpose.ONLINE].random(len(self.online))
        self.online = np.where(self.online, drawn < rule.stays, drawn < rule.returns)

    def lending(self) -> Bools:
        """Who would become a worker in this slot if the device is idle."""
        return self._rngs[Purpose.LENDING].random(len(self.online)) < self._world.scenario.people.lends

    def slot(self, begins_s: float) -> Asked:
        """The requests of the slot that begins now."""
        rng, scenario = self._rngs[Purpose.DEMAND], self._world.scenario
        count = len(self.online)
        asks = rng.random(count) < scenario.people.asks
        task = np.searchsorted(self._until, rng.random(count), side="right").clip(max=len(self._until) - 1)
        within = (rng.random(count) * self._applications[task]).astype(np.int64)
        lasts = np.zeros(count, dtype=np.int16)
        for number, kind in enumerate(self._world.tasks):
            drawn = kind.slots.draw(rng, count)
            lasts = np.where(task == number, drawn, lasts).astype(np.int16)
        salt = rng.integers(2**62, size=count)
        moment = rng.random(count)
        order = (
            rng.permutation(count)
            if scenario.people.asking is Asking.AT_ONCE
            else np.argsort(moment, kind="stable")
        )
        chosen = order[(asks & self.online)[order]]
        spread = 0.0 if scenario.people.asking is Asking.AT_ONCE else scenario.slots.length_s
        return Asked(
            at_s=begins_s + spread * moment[chosen],
            person=(chosen + self._world.people.start).astype(np.int32),
            application=(self._first[task] + within)[chosen].astype(np.int32),
            lasts_slots=lasts[chosen],
            salt=salt[chosen],
        )
