"""Layers on their way to boxes as the live fetcher brings them: in chunks, in the layers' order, from all holders.

A holder sends two chunks at a time to a box; as soon as one is there it is asked for the next that it holds. So the
quick give more than the slow, and the first layer is there while the last has not begun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from master.simulation.clock import Clock
from master.simulation.links import Links, Transfer
from master.simulation.stock import Stock
from master.simulation.tally import Tally
from master.simulation.world import Layer, World

CONNECTIONS = 2  # to each holder


class _Fetch:
    """One layer on its way to one box, and who waits for it there."""

    __slots__ = ("flying", "holders", "layer", "left", "to_ask", "waiting")

    def __init__(self, layer: Layer, holders: list[int], chunk_bytes: int) -> None:
        self.layer, self.holders = layer, holders
        whole, rest = divmod(layer.size_bytes, chunk_bytes)
        self.to_ask = [rest] * bool(rest) + [chunk_bytes] * whole  # taken from the end
        self.left = len(self.to_ask)
        self.flying: dict[Transfer, None] = {}
        self.waiting: list[Callable[[Layer], None]] = []


class ChunkFetching:
    """All layers that are on their way. Stands in for Fetching."""

    def __init__(self, world: World, clock: Clock, links: Links, stock: Stock, tally: Tally) -> None:
        self._world, self._clock, self._links = world, clock, links
        self._stock, self._tally = stock, tally
        self._fetches: dict[int, dict[str, _Fetch]] = {}  # by box, in the order in which they are wanted
        self._busy: Counter[tuple[int, int]] = Counter()  # box and holder → chunks under way

    def want(self, row: int, layer: Layer, sources: Iterable[int], arrived: Callable[[Layer], None]) -> None:
        """Bring a layer to a box that has not got it; `arrived` is called when all of it is there."""
        fetches = self._fetches.setdefault(row, {})
        fetch = fetches.get(layer.name)
        if fetch is None:
            holders = sorted(set(sources) - {row})
            chunk_bytes = self._world.scenario.network.chunk_bytes or layer.size_bytes
            fetch = fetches[layer.name] = _Fetch(layer, holders, chunk_bytes)
        fetch.waiting.append(arrived)
        self._ask(row)

    def unwant(self, row: int, layer: Layer, arrived: Callable[[Layer], None]) -> None:
        """Somebody waits no longer; what nobody waits for is cut."""
        fetch = self._fetches.get(row, {}).get(layer.name)
        if fetch is None or arrived not in fetch.waiting:
            return
        fetch.waiting.remove(arrived)
        if fetch.waiting:
            return
        del self._fetches[row][layer.name]
        for chunk in fetch.flying:
            self._busy[row, chunk.source] -= 1
            self._links.cut(chunk)
            self._tally.cut_bytes += chunk.moved
        self._ask(row)

    def _ask(self, row: int) -> None:
        """Give every holder that is free the next chunk that it has."""
        for fetch in self._fetches.get(row, {}).values():
            while fetch.to_ask:
                free = [holder for holder in fetch.holders if self._busy[row, holder] < CONNECTIONS]
                if not free:
                    break
                holder = min(free, key=lambda item: (self._busy[row, item], item))
                delay_s = self._world.path_ms(holder, row) / 1000
                chunk = Transfer(holder, row, fetch.to_ask.pop(), delay_s, partial(self._came, row, fetch))
                fetch.flying[chunk] = None
                self._busy[row, holder] += 1
                self._links.send(chunk)

    def _came(self, row: int, fetch: _Fetch, chunk: Transfer) -> None:
        del fetch.flying[chunk]
        self._busy[row, chunk.source] -= 1
        self._tally.carried("layers", chunk.source, chunk.size_bytes)
        self._stock.touch(chunk.source, fetch.layer.name, self._clock.now)
        fetch.left -= 1
        if not fetch.left:
            del self._fetches[row][fetch.layer.name]
            self._stock.gain(row, fetch.layer, self._clock.now)
        self._ask(row)
        if not fetch.left:
            for arrived in fetch.waiting:
                arrived(fetch.layer)
