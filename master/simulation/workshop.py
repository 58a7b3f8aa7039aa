"""What boxes do for starts beside transfers: work on processors that they share, and images into engines.

An engine unpacks an image layer by layer, in their order, each as soon as it is there; so the first is unpacked
while the last is still on its way. What one pull has unpacked, or is unpacking, others on that box do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from master.simulation.clock import Clock
from master.simulation.processors import Job, Processors
from master.simulation.scenario import Steps, Work
from master.simulation.stock import Stock
from master.simulation.world import Application, Layer, World

Then = Callable[[], object]


@dataclass(eq=False)
class _Pull:
    """An image that an engine is unpacking, and who waits for it. `layers` are those that are left."""

    row: int
    layers: list[Layer]
    waiting: list[Then] = field(default_factory=list)
    busy: bool = False


class Workshop:
    """The processors and the engines of all boxes."""

    def __init__(self, world: World, clock: Clock, stock: Stock, steps: Steps) -> None:
        self._clock, self._stock, self.steps = clock, stock, steps
        self._processors = Processors(clock, steps.cores)
        self._line: deque[tuple[Work, Then]] = deque()
        self._waiting: list[Then] = []
        self._placing = False
        self._files = {layer.name: layer.files for layer in world.layers}
        self._unpacked: set[tuple[int, str]] = set()  # row and layer
        self._unpacking: set[tuple[int, str]] = set()
        self._pulls: dict[tuple[int, str], _Pull] = {}
        for name in world.scenario.unpacked_on:
            row = 1 + list(world.scenario.boxes).index(name)
            self._unpacked |= {(row, layer.name) for layer in world.layers}

    def take(self, work: Work, then: Then) -> None:
        """A step: first it waits, then it works."""
        if not (work.cpu_s or work.wait_s):
            then()
        elif not work.cpu_s:
            self._clock.at(self._clock.now + work.wait_s, then)
        elif not work.wait_s:
            self._processors.work(work.cpu_s, then, threads=work.threads)
        else:
            self._clock.at(
                self._clock.now + work.wait_s, self.take, work.model_copy(update={"wait_s": 0.0}), then
            )

    def queue(self, work: Work, then: Then) -> None:
        """A step that one process does for all, one after the other."""
        self._line.append((work, then))
        if len(self._line) == 1:
            self._serve()

    def together(self, work: Work, then: Then) -> None:
        """A step that one process does for all who wait for it at once; who comes meanwhile is in the next round."""
        self._waiting.append(then)
        if not self._placing:
            self._go_round(work)

    def _go_round(self, work: Work) -> None:
        self._placing = True
        served, self._waiting = self._waiting, []

        def done() -> None:
            self._placing = False
            if self._waiting:
                self._go_round(work)
            for then in served:
                then()

        self.take(work, done)

    def _serve(self) -> None:
        work, then = self._line[0]

        def served() -> None:
            self._line.popleft()
            if self._line:
                self._serve()
            then()

        self.take(work, served)

    def burn(self, cores: float) -> Job:
        """A running instance keeps so many cores busy, until `stop`."""
        return self._processors.work(float("inf"), lambda: None, most=cores)

    def stop(self, job: Job) -> None:
        """It does no more."""
        self._processors.stop(job)

    def is_unpacked(self, row: int, application: Application) -> bool:
        """Whether the engine of a box has an image."""
        return all((row, layer.name) in self._unpacked for layer in application.layers)

    def unpack(self, row: int, application: Application, then: Then) -> None:
        """Bring an image into the engine as its layers come; `then` is called when all of it is there."""
        if self.is_unpacked(row, application):
            then()
            return
        key = (row, application.name)
        pull = self._pulls.get(key)
        if pull is None:
            layers = [layer for layer in application.layers if (row, layer.name) not in self._unpacked]
            pull = self._pulls[key] = _Pull(row, layers)
        pull.waiting.append(then)
        self._go_on(key, pull)

    def arrived(self, row: int) -> None:
        """A layer has come to a box."""
        for key, pull in list(self._pulls.items()):
            if pull.row == row:
                self._go_on(key, pull)

    def _go_on(self, key: tuple[int, str], pull: _Pull) -> None:
        while pull.layers and (pull.row, pull.layers[0].name) in self._unpacked:
            pull.layers.pop(0)
        if not pull.layers:
            if self._pulls.pop(key, None) is not None:
                for then in pull.waiting:
                    then()
            return
        layer = pull.layers[0]
        where = (pull.row, layer.name)
        if pull.busy or where in self._unpacking or not self._stock.holds(pull.row, layer.name):
            return
        pull.busy = True
        self._unpacking.add(where)
        self.take(self._cost(layer), lambda: self._done(pull, where))

    def _cost(self, layer: Layer) -> Work:
        steps = self.steps
        cpu_s = (
            layer.size_bytes * steps.unpack_s_per_gb / 1e9 + self._files[layer.name] * steps.unpack_s_per_file
        )
        return steps.unpack.model_copy(update={"cpu_s": steps.unpack.cpu_s + cpu_s})

    def _done(self, pull: _Pull, where: tuple[int, str]) -> None:
        pull.busy = False
        self._unpacking.discard(where)
        self._unpacked.add(where)
        self.arrived(pull.row)
