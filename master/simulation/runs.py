"""The life of a request that has a place: layers, launch, the person's input, running, the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from master.scheduling.fleet import BANDWIDTH, CPU, DISK, MEMORY, Fleet
from master.simulation.chunks import ChunkFetching
from master.simulation.clock import Clock
from master.simulation.fetching import Fetching
from master.simulation.links import Links, Transfer
from master.simulation.record import Outcome
from master.simulation.run import Run
from master.simulation.starting import Start
from master.simulation.stock import Stock
from master.simulation.tally import Tally
from master.simulation.world import Layer, World


class Runs:
    """All requests that have a place and are not over, by box and by end."""

    def __init__(
        self,
        world: World,
        clock: Clock,
        links: Links,
        fleet: Fleet,
        stock: Stock,
        tally: Tally,
        *,
        keeps_layers: bool,
        start: Start,
        on_end: Callable[[], None],
    ) -> None:
        self._world, self._clock, self._links = world, clock, links
        self._fleet, self._stock, self._tally = fleet, stock, tally
        self._keeps_layers = keeps_layers
        self._starts, self._on_end = start, on_end
        kind = Fetching if world.scenario.network.chunk_bytes is None else ChunkFetching
        self._fetching: Fetching | ChunkFetching = kind(world, clock, links, stock, tally)
        self._scenario = world.scenario
        self._public = round(self._scenario.files.kinds * self._scenario.files.public)
        self._public_at: dict[int, set[int]] = {}
        self.live: dict[Run, None] = {}  # in the order in which they were placed
        self.ended: Counter[int] = Counter()  # box → runs that had all their slots
        self.on: dict[int, int] = {}  # box → how many use it, to compute or for files

    # --- the start -----------------------------------------------------------------------------------------

    def begin(self, run: Run, depositories: dict[str, list[int]]) -> None:
        """Reserve what was placed, and fetch what is missing."""
        task, network = self._world.tasks[run.application.task], self._scenario.network
        missing = [layer for layer in run.application.layers if not self._stock.holds(run.box, layer.name)]
        mount = network.mount_bps if run.application.data_bytes and run.store != run.box else 0
        run.amounts[CPU] = task.compute if run.cpu is None else run.cpu
        run.amounts[MEMORY] = run.memory_bytes
        run.amounts[DISK] = float(sum(layer.size_bytes for layer in missing))
        run.amounts[BANDWIDTH] = float((task.stream_bps if run.person != run.box else 0) + mount)
        self._fleet.reserve(run.box, run.amounts)
        self._use(run.box, 1)
        if run.store is not None:
            self._reserve_store(run, mount)
        self._stock.use(run.box, run.application.layers)
        if task.files:
            run.to_send = self._files(run)
        first = task.input_bytes or (self._scenario.files.size_bytes if run.to_send else 0)
        if first and run.person != run.box:
            run.expected_bytes = float(first)
            self._links.expect(run.person, run.box, first)
        self.live[run] = None
        run.missing = {layer.name for layer in missing}
        run.layers_at = self._clock.now

        def fetch() -> None:
            for layer in missing:
                self._fetching.want(run.box, layer, depositories[layer.name], _Waiter(self, run))
            if not missing:
                self._starts.complete(run, self._launch)

        self._starts.begin(run, fetch, self._launch)

    def arrived(self, run: Run, layer: Layer) -> None:
        """A layer is there; its room is used now and no longer reserved."""
        amounts = [0.0] * 5
        amounts[DISK] = float(layer.size_bytes)
        self._fleet.release(run.box, amounts)
        run.amounts[DISK] -= layer.size_bytes
        run.missing.discard(layer.name)
        self._starts.arrived(run)
        if not run.missing:
            self._starts.complete(run, self._launch)

    def _launch(self, run: Run) -> None:
        now = self._clock.now
        run.block.layers_s[run.at] = now - run.asked_at
        for layer in run.application.layers:
            self._stock.touch(run.box, layer.name, now)
        run.layers_at = now
        self._starts.launch(run, self._launched)

    def _launched(self, run: Run) -> None:
        if run.over:
            return
        run.launched_at = self._clock.now
        run.block.launch_s[run.at] = run.launched_at - run.layers_at
        self._starts.launched(run)
        self._met(run)
        task = self._world.tasks[run.application.task]
        if task.input_bytes:
            self._send(run, run.person, run.box, task.input_bytes, "input", lambda _: self._start(run))
        elif run.to_send:
            self._next_file(run)
        else:
            self._start(run)

    def _met(self, run: Run) -> None:
        """What was announced of the person's bytes is sent now, or never."""
        if run.expected_bytes:
            self._links.expect(run.person, run.box, -run.expected_bytes)
            run.expected_bytes = 0.0

    def _start(self, run: Run) -> None:
        if run.started:
            return
        run.started = True
        block, at, now = run.block, run.at, self._clock.now
        run.started_at = now
        if run.lasts_s is not None:
            self._clock.at(now + run.lasts_s, self.end, run)
        task = self._world.tasks[run.application.task]
        self._starts.started(run, run.amounts[CPU] * task.burns)
        block.traffic_s[at] = now - run.launched_at
        block.outcome[at] = Outcome.STARTED
        if task.input_bytes and run.person != run.box:
            block.speed_bps[at] = task.input_bytes * 8 / max(now - run.launched_at, 1e-9)
        if task.stream_bps:
            self._stream(run, task.stream_bps)
        if run.mount_bps and run.store is not None:
            self._links.hold(run.box, run.mount_bps)
            self._links.hold(run.store, run.mount_bps)

    def _stream(self, run: Run, wanted_bps: float) -> None:
        """Hold the stream on both links; a person's link may have less than is wanted."""
        run.block.speed_bps[run.at] = wanted_bps
        if run.person == run.box:
            return
        link = self._links.of(run.person)
        room = link.capacity_bps * self._scenario.network.reservable - link.held_bps
        if run.person < len(self._fleet):
            room = min(room, float(self._fleet.free[BANDWIDTH, run.person]))
        run.stream_bps = max(0.0, min(wanted_bps, room))
        run.block.speed_bps[run.at] = run.stream_bps
        self._links.hold(run.box, run.stream_bps)
        self._links.hold(run.person, run.stream_bps)
        self._reserve_link(run.person, run.stream_bps)

    # --- files ---------------------------------------------------------------------------------------------

    def _reserve_store(self, run: Run, mount_bps: float) -> None:
        assert run.store is not None  # noqa: S101 - told to the type checker
        self._use(run.store, 1)
        task = self._world.tasks[run.application.task]
        if task.files:
            run.room_bytes = float(task.files * self._scenario.files.size_bytes)
            self._reserve_disk(run.store, run.room_bytes)
        run.mount_bps = max(0.0, min(float(mount_bps), float(self._fleet.free[BANDWIDTH, run.store])))
        self._reserve_link(run.store, run.mount_bps)

    def _files(self, run: Run) -> list[int]:
        """The kinds of files that are to be sent: public ones only where the filestore has them not."""
        task, files = self._world.tasks[run.application.task], self._scenario.files
        kinds = np.random.default_rng(run.salt).integers(files.kinds, size=task.files)
        there = self._public_at.get(run.store if run.store is not None else run.box, set())
        wanted: list[int] = []
        for kind in kinds:
            if int(kind) < self._public and (int(kind) in there or int(kind) in wanted):
                self._tally.public_kept += 1
            else:
                wanted.append(int(kind))
        run.to_arrive = len(wanted)
        return wanted[::-1]

    def _next_file(self, run: Run) -> None:
        """The next file sets off from the person; the one before it goes on to the filestore meanwhile."""
        if run.over or not run.to_send:
            return
        kind, size = run.to_send.pop(), self._scenario.files.size_bytes

        def came(_: Transfer) -> None:
            if run.over:
                return
            self._next_file(run)
            store = run.store if run.store is not None else run.box
            self._send(run, run.box, store, size, "forwarded", lambda _: self._stored(run, kind, size))

        self._send(run, run.person, run.box, size, "files", came, lambda _: self._start(run))

    def _stored(self, run: Run, kind: int, size: int) -> None:
        store = run.store if run.store is not None else run.box
        run.sent_bytes += size
        run.to_arrive -= 1
        if kind < self._public and kind not in self._public_at.setdefault(store, set()):
            self._public_at[store].add(kind)
            self._stock.fill(store, size)
            self._reserve_disk(store, -size)
            run.room_bytes -= size
        if (took_s := self._clock.now - run.launched_at) > 0:
            run.block.speed_bps[run.at] = run.sent_bytes * 8 / took_s
        if run.to_arrive == 0:
            self._tally.complete += 1

    def _send(
        self,
        run: Run,
        source: int,
        target: int,
        size: int,
        what: str,
        done: Callable[[Transfer], None],
        flows: Callable[[Transfer], None] | None = None,
    ) -> None:
        def arrived(transfer: Transfer) -> None:
            run.transfers.remove(transfer)
            if source != target:
                self._tally.carried(what, source, size)
            done(transfer)

        transfer = Transfer(source, target, size, self._world.path_ms(source, target) / 1000, arrived, flows)
        run.transfers.append(transfer)
        self._links.send(transfer)

    # --- the end -------------------------------------------------------------------------------------------

    def end(self, run: Run, outcome: Outcome | None = None) -> None:
        """Give everything back; with an outcome that is how it ended."""
        if run.over:
            return
        run.over = True
        self._starts.ended(run, lambda: self._end(run, outcome))

    def _end(self, run: Run, outcome: Outcome | None) -> None:
        del self.live[run]
        if outcome is None:
            self.ended[run.box] += 1
        else:
            run.block.outcome[run.at] = outcome
        self._met(run)
        for transfer in list(run.transfers):
            self._links.cut(transfer)
            self._tally.cut_bytes += transfer.moved
        for layer in run.application.layers:
            if layer.name in run.missing:
                self._fetching.unwant(run.box, layer, _Waiter(self, run))
        self._release(run)
        self._stock.unuse(run.box, run.application.layers)
        if not self._keeps_layers:
            self._stock.forget(run.box, run.application.layers)
        self._stock.make_room(run.box)
        self._on_end()

    def _release(self, run: Run) -> None:
        kind = self._tally.kind(run.box)
        self._fleet.release(run.box, run.amounts)
        self._use(run.box, -1)
        self._tally.used["compute"][kind] += run.amounts[CPU] * (self._clock.now - run.asked_at)
        ran_s = self._clock.now - run.started_at if run.started else 0.0
        self._tally.carried("streams", run.box, run.stream_bps * ran_s / 8)
        if run.started and run.stream_bps:
            self._links.hold(run.box, -run.stream_bps)
            self._links.hold(run.person, -run.stream_bps)
            self._reserve_link(run.person, -run.stream_bps)
        if run.store is None:
            return
        self._tally.carried("mounts", run.store, run.mount_bps * ran_s / 8)
        if run.started and run.mount_bps:
            self._links.hold(run.box, -run.mount_bps)
            self._links.hold(run.store, -run.mount_bps)
        self._use(run.store, -1)
        self._reserve_link(run.store, -run.mount_bps)
        self._reserve_disk(run.store, -run.room_bytes)

    def _use(self, row: int, count: int) -> None:
        self.on[row] = self.on.get(row, 0) + count

    def _reserve_link(self, row: int, amount_bps: float) -> None:
        if row < len(self._fleet) and amount_bps:
            amounts = [0.0] * 5
            amounts[BANDWIDTH] = amount_bps
            self._fleet.reserve(row, amounts)

    def _reserve_disk(self, row: int, size_bytes: float) -> None:
        amounts = [0.0] * 5
        amounts[DISK] = size_bytes
        self._fleet.reserve(row, amounts)


@dataclass(frozen=True)
class _Waiter:
    """Called when a layer that a run waits for is there; two of one run are equal."""

    runs: Runs
    run: Run

    def __call__(self, layer: Layer) -> None:
        self.runs.arrived(self.run, layer)
