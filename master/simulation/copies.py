"""Copies of layers and of applications' data: made again after a loss, by the plan of the live system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.words import BoxKind
from master.scheduling.fleet import DISK, Fleet
from master.scheduling.replication import Change, Copy, Store, Thing, plan
from master.simulation.clock import Clock
from master.simulation.links import Links, Transfer
from master.simulation.stock import VERSION, Stock
from master.simulation.tally import Tally
from master.simulation.world import Application, Layer, World

_LAYER, _DATA = "layer", "data"


@dataclass(eq=False)
class _Coming:
    """A copy on its way; it travels in pieces, one after the other."""

    what: Layer | Application
    size_bytes: float
    source: int
    target: int
    left_bytes: float
    piece: Transfer | None = None


class Copies:
    """Who is to hold what. `meant` of a layer are also what the box itself may not evict."""

    def __init__(
        self,
        world: World,
        clock: Clock,
        links: Links,
        fleet: Fleet,
        stock: Stock,
        tally: Tally,
        *,
        busy: Callable[[int], bool],
    ) -> None:
        self._busy = busy
        self._world, self._clock, self._links = world, clock, links
        self._fleet, self._stock, self._tally = fleet, stock, tally
        self._things: dict[str, tuple[Layer | Application, float, set[int]]] = {}
        for layer in world.layers:
            self._things[f"{_LAYER} {layer.name}"] = (layer, layer.size_bytes, stock.meant[layer.name])
        for application in world.applications:
            if application.data_bytes:
                holders = set(world.data_copies[application.number])
                self._things[f"{_DATA} {application.name}"] = (application, application.data_bytes, holders)
        self._planned: set[tuple[str, int]] = set()
        self._coming: dict[tuple[str, int], _Coming] = {}
        self._gone_since: dict[int, int] = {}

    def went(self, row: int, slot: int) -> None:
        """A device is away from now on: what comes from there or goes there comes to nothing."""
        self._gone_since[row] = slot
        for key, coming in list(self._coming.items()):
            if row in (coming.source, coming.target):
                self._give_up(key, coming)

    def returned(self, row: int) -> None:
        """A device is there again with its content."""
        self._gone_since.pop(row, None)

    def repair(self, slot: int, online: Callable[[int], bool]) -> None:
        """Plan what is missing and send it; give up what is planned and too much by now."""
        things = [thing for key in self._things if (thing := self._thing(key, slot)) is not None]
        if not things:
            return
        for change in plan(things, self._stores(slot, online), copies=self._world.scenario.keeping.copies):
            self._apply(change)

    def stop(self) -> None:
        """The run is over: what is on its way comes to nothing."""
        for key, coming in list(self._coming.items()):
            self._give_up(key, coming)

    def _away(self, row: int, slot: int) -> bool:
        since = self._gone_since.get(row)
        return since is not None and slot - since >= self._world.scenario.keeping.lost_after_slots

    def _thing(self, key: str, slot: int) -> Thing | None:
        """A thing with too few copies that count, or with a planned one too many."""
        _, size, holders = self._things[key]
        counting = [row for row in holders if not self._away(row, slot)]
        enough = len(counting) == self._world.scenario.keeping.copies
        if enough or (
            len(counting) > self._world.scenario.keeping.copies and not self._surplus(key, counting)
        ):
            return None
        copies = tuple(
            Copy(
                self._fleet.names[row],
                has=(key, row) not in self._coming and bool(self._fleet.up[row]),
                planned=(key, row) in self._planned,
                in_use=(key, row) in self._coming or self._busy(row),
            )
            for row in sorted(holders)
        )
        return Thing(key, int(size), copies, obtainable=bool(self._sources(key)))

    def _surplus(self, key: str, counting: list[int]) -> bool:
        return any((key, row) in self._planned and (key, row) not in self._coming for row in counting)

    def _sources(self, key: str) -> list[int]:
        """Who holds a thing whole and can send it now."""
        thing, _, holders = self._things[key]
        if isinstance(thing, Layer):
            return [int(row) for row in self._fleet.layers.sources(thing.name)]
        return [row for row in sorted(holders) if self._fleet.up[row] and (key, row) not in self._coming]

    def _stores(self, slot: int, online: Callable[[int], bool]) -> list[Store]:
        boxes, fleet = self._world.boxes, self._fleet
        lent = self._world.scenario.keeping.free_bytes
        return [
            Store(
                fleet.names[row],
                BoxKind.SERVER if row in self._world.servers else BoxKind.DESKTOP,
                fixed=bool(boxes.fixed[row]) and bool(boxes.stores_files[row]),
                free_bytes=int(fleet.free[DISK, row]) - lent,
                counts=not self._away(row, slot),
                takes=bool(fleet.up[row]) and bool(boxes.fixed[row]) and bool(boxes.stores_files[row]),
            )
            for row in range(1, len(fleet))
            if online(row) or row in self._gone_since
        ]

    def _apply(self, change: Change) -> None:
        thing, size, holders = self._things[change.key]
        for name in change.drop:
            row = self._fleet.row_of[name]
            holders.discard(row)
            self._planned.discard((change.key, row))
            if isinstance(thing, Application):
                self._fleet.drop_fileset(row, thing.name, VERSION)
                self._stock.fill(row, -size)
        for name in change.add:
            row = self._fleet.row_of[name]
            holders.add(row)
            self._planned.add((change.key, row))
            if isinstance(thing, Layer) and self._stock.holds(row, thing.name):
                continue  # a box that fetched it for itself keeps it from now on
            source = min(
                self._sources(change.key), key=lambda other: (float(self._links.load_s[other]), other)
            )
            coming = self._coming[change.key, row] = _Coming(thing, size, source, row, size)
            self._reserve(row, size)
            self._send(change.key, coming)

    def _send(self, key: str, coming: _Coming) -> None:
        size = min(coming.left_bytes, float(self._world.scenario.network.copy_piece_bytes))
        delay_s = self._world.path_ms(coming.source, coming.target) / 1000

        def came(piece: Transfer) -> None:
            self._tally.carried("copies", piece.source, piece.size_bytes)
            coming.left_bytes -= piece.size_bytes
            if coming.left_bytes > 0:
                self._send(key, coming)
            else:
                self._finish(key, coming)

        coming.piece = Transfer(coming.source, coming.target, size, delay_s, came)
        self._links.send(coming.piece)

    def _finish(self, key: str, coming: _Coming) -> None:
        del self._coming[key, coming.target]
        self._reserve(coming.target, -coming.size_bytes)
        self._tally.copies_made += 1
        if isinstance(coming.what, Layer):
            self._stock.gain(coming.target, coming.what, self._clock.now)
        else:
            self._stock.fill(coming.target, coming.size_bytes)
            self._fleet.hold_fileset(coming.target, coming.what.name, VERSION)

    def _give_up(self, key: tuple[str, int], coming: _Coming) -> None:
        if coming.piece is not None:
            self._links.cut(coming.piece)
            self._tally.cut_bytes += coming.piece.moved
        del self._coming[key]
        self._planned.discard(key)
        self._things[key[0]][2].discard(coming.target)
        self._reserve(coming.target, -coming.size_bytes)

    def _reserve(self, row: int, size_bytes: float) -> None:
        amounts = [0.0] * 5
        amounts[DISK] = size_bytes
        self._fleet.reserve(row, amounts)
