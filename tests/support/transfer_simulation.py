"""Transfers on a simulated clock: links with rates and delays, sources that die, freeze and lie.

It drives the very plan that real transfers follow (`workers/depository/plan.py`), so that strategies can be compared
in milliseconds and a thousand fault schedules be tried in seconds. A link's rate is shared equally by what flows
through it; a box that fetches serves what it has, as its peers find out every `NEWS_EVERY_S`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from workers.depository.asking import NEWS_EVERY_S
from workers.depository.plan import Giver, bits, choose
from workers.depository.pull import FIRST_REST_S, LONGEST_REST_S
from workers.depository.ranges import BlobRanges

MIB = 2**20
SILENT_S = 2.0
LOOK_AGAIN_S = 0.25
NEVER = float("inf")

Strategy = Callable[..., tuple[int, int] | None]


@dataclass
class Blob:
    """A blob on its way."""

    digest: str
    ranges: BlobRanges


@dataclass
class Node:
    """A machine. `dies_at`: its connections break; `frozen`: it sends nothing between these moments."""

    name: str
    up: float = NEVER
    down: float = NEVER
    delay_s: float = 0.001
    dies_at: float = NEVER
    revives_at: float = NEVER
    frozen: tuple[float, float] = (NEVER, NEVER)
    lies_from: float = NEVER
    sent: float = 0.0

    def is_dead(self, now: float) -> bool:
        """Whether nobody answers."""
        return self.dies_at <= now < self.revives_at

    def is_frozen(self, now: float) -> bool:
        """Whether it holds its connections and says nothing."""
        return self.frozen[0] <= now < self.frozen[1]


@dataclass
class Source:
    """A node as one reader sees it."""

    node: Node
    giver: Giver
    peer: Reader | None = None
    again_at: float = 0.0
    rest_s: float = 0.0
    banned: bool = False
    news_at: float = -NEVER
    flows: list[Flow] = field(default_factory=list)


@dataclass
class Flow:
    """A range on its way."""

    source: Source
    number: int
    chunk: int
    left: float
    began: float
    moves_from: float
    bad: bool
    silent_since: float
    rate: float = 0.0


@dataclass
class Reader:
    """A box that fetches."""

    node: Node
    blobs: list[Blob]
    sources: list[Source] = field(default_factory=list)
    begins_at: float = 0.0
    done_at: float | None = None
    taken: Counter[tuple[int, int]] = field(default_factory=Counter)
    wrong: int = 0


def image(sizes: Sequence[int], chunk_bytes: int = 2 * MIB) -> list[Blob]:
    """Blobs of these sizes of which nothing is there yet; the same digests every time."""
    return [
        Blob(f"sha256:{number + 1:064x}", BlobRanges(size, chunk_bytes, verified_by_chunk=True))
        for number, size in enumerate(sizes)
    ]


class Simulation:
    """Readers and sources until all readers are done. `strategy` stands in for `plan.choose`."""

    def __init__(self, *, seed: int = 0, strategy: Strategy = choose, lines: int = 2) -> None:
        self.now = 0.0
        self.readers: list[Reader] = []
        self._dice = random.Random(seed)  # noqa: S311 - the same run for the same seed
        self._strategy = strategy
        self._lines = lines

    def read(self, node: Node, blobs: list[Blob], holders: Sequence[Node], begins_at: float = 0.0) -> Reader:
        """A reader that is told of these holders."""
        reader = Reader(node, blobs, begins_at=begins_at)
        for holder in holders:
            whole: dict[str, bytes | None] = {blob.digest: None for blob in blobs}
            reader.sources.append(Source(holder, Giver(holder.name, lines=self._lines, chunks=whole)))
        self.readers.append(reader)
        return reader

    def introduce(self) -> None:
        """Tell all readers of each other."""
        for reader in self.readers:
            for other in self.readers:
                if other is not reader:
                    giver = Giver(other.node.name, is_peer=True, lines=1)
                    reader.sources.append(Source(other.node, giver, peer=other))

    def run(self, limit_s: float) -> float:
        """Until all are done; returns when. Raises TimeoutError if somebody is stuck."""
        while any(reader.done_at is None for reader in self.readers):
            if self.now > limit_s:
                raise TimeoutError(f"a transfer is stuck after {limit_s:g} s")
            for reader in self.readers:
                if reader.done_at is None and reader.begins_at <= self.now:
                    self._ask(reader)
            self._advance()
        return max(reader.done_at or 0.0 for reader in self.readers)

    def _ask(self, reader: Reader) -> None:
        for source in reader.sources:
            if source.banned or source.again_at > self.now:
                continue
            if source.node.is_dead(self.now):
                self._leave(reader, source)
                continue
            self._hear(source)
            lines = 1 if any(item.peer for item in reader.sources) else self._lines
            while len(source.flows) < lines and self._start(reader, source):
                pass

    def _hear(self, source: Source) -> None:
        if source.peer is not None and source.news_at + NEWS_EVERY_S <= self.now:
            source.news_at = self.now
            source.giver.chunks = {blob.digest: bits(blob.ranges.there) for blob in source.peer.blobs}

    def _start(self, reader: Reader, source: Source) -> bool:
        others = [
            item.giver
            for item in reader.sources
            if item is not source and not item.banned and item.again_at <= self.now
        ]
        found = self._strategy(
            reader.blobs, source.giver, others, self.now, me=reader.node.name, dice=self._dice
        )
        if found is None:
            return False
        number, chunk = found
        ranges = reader.blobs[number].ranges
        ranges.ask(chunk, source.giver.box, self.now)
        starts = self.now + source.node.delay_s
        bad = source.node.lies_from <= self.now
        size = float(ranges.span(chunk)[1])
        source.flows.append(Flow(source, number, chunk, size, self.now, starts, bad, self.now))
        return True

    def _flows(self) -> list[tuple[Reader, Flow]]:
        return [
            (reader, flow) for reader in self.readers for source in reader.sources for flow in source.flows
        ]

    def _advance(self) -> None:
        flows = self._flows()
        until = self._set_rates(flows)
        step = max(1e-6, until - self.now)
        for _, flow in flows:
            moved = min(flow.left, flow.rate * step)
            flow.left -= moved
            flow.source.node.sent += moved
        self.now += step
        for reader, flow in flows:
            if flow.rate > 0:
                flow.silent_since = self.now
            if flow not in flow.source.flows:
                continue
            if reader.blobs[flow.number].ranges.there[flow.chunk]:
                flow.source.flows.remove(flow)  # it came from elsewhere
            elif flow.left <= 1e-3:
                self._arrive(reader, flow)
            elif flow.source.node.is_dead(self.now) or self.now - flow.silent_since >= SILENT_S:
                self._leave(reader, flow.source)

    def _set_rates(self, flows: list[tuple[Reader, Flow]]) -> float:
        """Share the links; returns when something changes."""
        moving = [
            (reader, flow)
            for reader, flow in flows
            if flow.moves_from <= self.now
            and not flow.source.node.is_frozen(self.now)
            and not flow.source.node.is_dead(self.now)
        ]
        ups = Counter(flow.source.node.name for _, flow in moving)
        downs = Counter(reader.node.name for reader, _ in moving)
        until = self.now + LOOK_AGAIN_S
        for _, flow in flows:
            flow.rate = 0.0
            if flow.moves_from > self.now:
                until = min(until, flow.moves_from)
        for reader, flow in moving:
            node = flow.source.node
            flow.rate = min(node.up / ups[node.name], reader.node.down / downs[reader.node.name], 1e12)
            until = min(until, self.now + flow.left / flow.rate)
        return until

    def _arrive(self, reader: Reader, flow: Flow) -> None:
        source = flow.source
        source.flows.remove(flow)
        ranges = reader.blobs[flow.number].ranges
        if flow.bad:
            source.banned = True
            self._leave(reader, source)
            return
        source.giver.gave(ranges.span(flow.chunk)[1], max(1e-6, self.now - flow.began))
        source.rest_s = 0.0
        if ranges.arrived(flow.chunk, source.giver.box):
            reader.taken[flow.number, flow.chunk] += 1
            reader.wrong += flow.bad
        if all(blob.ranges.is_complete for blob in reader.blobs):
            reader.done_at = self.now
            for item in reader.sources:
                item.flows.clear()

    def _leave(self, reader: Reader, source: Source) -> None:
        source.flows.clear()
        for blob in reader.blobs:
            blob.ranges.leave(source.giver.box)
        source.rest_s = min(source.rest_s * 2, LONGEST_REST_S) if source.rest_s else FIRST_REST_S
        source.again_at = self.now + source.rest_s
