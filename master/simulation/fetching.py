"""Layers on their way to boxes: in pieces from all depositories, each from the one that will answer first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from master.simulation.clock import Clock
from master.simulation.links import Links, Transfer
from master.simulation.stock import Stock
from master.simulation.tally import Tally
from master.simulation.world import Layer, World


class _Fetch:
    """One layer on its way to one box, and who waits for it there."""

    __slots__ = ("layer", "left", "pieces", "row", "waiting")

    def __init__(self, row: int, layer: Layer) -> None:
        self.row, self.layer = row, layer
        self.pieces: list[Transfer] = []
        self.left = 0
        self.waiting: list[Callable[[Layer], None]] = []


class Fetching:
    """All layers that are on their way. What comes for one instance comes for all on that box."""

    def __init__(self, world: World, clock: Clock, links: Links, stock: Stock, tally: Tally) -> None:
        self._world, self._clock, self._links = world, clock, links
        self._stock, self._tally = stock, tally
        self._fetches: dict[tuple[int, str], _Fetch] = {}

    def want(self, row: int, layer: Layer, sources: Iterable[int], arrived: Callable[[Layer], None]) -> None:
        """Bring a layer to a box that has not got it; `arrived` is called when all of it is there."""
        key = (row, layer.name)
        fetch = self._fetches.get(key)
        if fetch is not None:
            fetch.waiting.append(arrived)
            return
        fetch = self._fetches[key] = _Fetch(row, layer)
        fetch.waiting.append(arrived)
        holders = sorted(set(sources) - {row})
        threads = self._world.scenario.network.threads
        fetch.left = threads
        for _ in range(threads):
            source = min(holders, key=lambda holder: (self._answers_s(holder, row), holder))
            size = layer.size_bytes / threads
            piece = Transfer(source, row, size, self._delay_s(source, row), partial(self._piece, fetch))
            fetch.pieces.append(piece)
            self._links.send(piece)

    def unwant(self, row: int, layer: Layer, arrived: Callable[[Layer], None]) -> None:
        """Somebody waits no longer; what nobody waits for is cut."""
        fetch = self._fetches.get((row, layer.name))
        if fetch is None or arrived not in fetch.waiting:
            return
        fetch.waiting.remove(arrived)
        if fetch.waiting:
            return
        del self._fetches[row, layer.name]
        for piece in fetch.pieces:
            self._links.cut(piece)
            self._tally.cut_bytes += piece.moved if piece.left > 0 else 0.0

    def _delay_s(self, source: int, row: int) -> float:
        return self._world.path_ms(source, row) / 1000

    def _answers_s(self, source: int, row: int) -> float:
        return float(self._links.load_s[source]) + self._delay_s(source, row)

    def _piece(self, fetch: _Fetch, piece: Transfer) -> None:
        self._tally.carried("layers", piece.source, piece.size_bytes)
        self._stock.touch(piece.source, fetch.layer.name, self._clock.now)
        fetch.left -= 1
        if fetch.left:
            return
        del self._fetches[fetch.row, fetch.layer.name]
        self._stock.gain(fetch.row, fetch.layer, self._clock.now)
        for arrived in fetch.waiting:
            arrived(fetch.layer)
