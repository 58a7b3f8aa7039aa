"""Links of boxes and the transfers that share them: one at a time in turn, or all at once max-min fairly.

A box has one link; up and down count together. A transfer takes the links of both ends.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from master.simulation.clock import Clock
from master.simulation.scenario import Sharing

_DUST_BYTES = 1e-3  # what rounding leaves of a transfer that has arrived
_SAME = 1e-12  # of a rate: rounding announces no end anew
_LOOKED_AT = 64  # so many of a queue are looked at for one that can go


class Transfer:
    """Bytes on their way from one box to another. `on_flow` is called when the first of them sets off."""

    __slots__ = ("delay_s", "done", "ends", "ends_at", "flows_at", "left", "on_arrival", "on_flow", "rate_bps",
                 "size_bytes", "source", "target", "turn", "updated")  # fmt: skip

    def __init__(
        self,
        source: int,
        target: int,
        size_bytes: float,
        delay_s: float,
        on_arrival: Callable[[Transfer], None],
        on_flow: Callable[[Transfer], None] | None = None,
    ) -> None:
        self.source, self.target = source, target
        self.ends: tuple[Link, ...] = ()
        self.size_bytes = self.left = float(size_bytes)
        self.delay_s = delay_s
        self.on_arrival, self.on_flow = on_arrival, on_flow
        self.rate_bps = 0.0
        self.ends_at = math.inf  # as it flows now
        self.flows_at = self.updated = -1.0  # not under way
        self.turn = 0  # grows when its end is announced anew
        self.done = False

    @property
    def moved(self) -> float:
        """Bytes that have arrived."""
        return self.size_bytes - self.left


class Link:
    """One box's link: what is held of it for good, what flows, and what waits (in turn only)."""

    __slots__ = (
        "capacity_bps",
        "flowing",
        "held_bps",
        "held_bytes",
        "held_since",
        "level_bps",
        "moved",
        "room_bps",
        "waiting",
    )

    def __init__(self, capacity_bps: float) -> None:
        self.capacity_bps = capacity_bps
        self.room_bps = capacity_bps  # what transfers may take
        self.level_bps = math.inf  # what each may get of it at most (shared max-min only)
        self.held_bps = 0.0
        self.held_since = 0.0
        self.held_bytes = 0.0  # what the holds have carried
        self.moved = 0.0  # what transfers have carried
        self.flowing: dict[Transfer, None] = {}  # in the order in which they set off
        self.waiting: deque[Transfer] = deque()

    def hold(self, amount_bps: float, now: float) -> None:
        """Take (or with a negative amount give back) a part of the link from now on."""
        self.settle(now)
        self.held_bps = max(0.0, self.held_bps + amount_bps)
        self.room_bps = max(0.0, self.capacity_bps - self.held_bps)

    def settle(self, now: float) -> None:
        """Count what the holds carried until now."""
        self.held_bytes += self.held_bps * (now - self.held_since) / 8
        self.held_since = now


class Links(ABC):
    """All links. `moved` is the total of all transfers, counted apart from the links' own figures.

    `load_s` says per box how long its link will be taken by what is announced, if nothing else slows that down.
    """

    def __init__(self, clock: Clock, capacity_bps: NDArray[np.float64]) -> None:
        self._clock = clock
        self._capacity = capacity_bps
        self._links: dict[int, Link] = {}
        self.moved = 0.0
        self.load_s = np.zeros(len(capacity_bps))

    def of(self, box: int) -> Link:
        """The link of a box."""
        link = self._links.get(box)
        if link is None:
            link = self._links[box] = Link(float(self._capacity[box]))
        return link

    def used(self) -> Iterable[tuple[int, Link]]:
        """Every link that was ever used, with its box."""
        return self._links.items()

    def send(self, transfer: Transfer) -> None:
        """Announce a transfer; what goes from a box to itself arrives at once."""
        if transfer.source == transfer.target:
            transfer.left, transfer.done = 0.0, True
            if transfer.on_flow is not None:
                transfer.on_flow(transfer)
            transfer.on_arrival(transfer)
            return
        transfer.ends = (self.of(transfer.source), self.of(transfer.target))
        self.expect(transfer.source, transfer.target, transfer.size_bytes)
        self._enter(transfer)

    def path_bps(self, one: int, other: int) -> float:
        """What a path gives at best: the minimum of both links."""
        return float(min(self._capacity[one], self._capacity[other]))

    def expect(self, one: int, other: int, size_bytes: float) -> None:
        """So many bytes more (or fewer) are to go between two boxes, sooner or later."""
        taken_s = size_bytes * 8 / self.path_bps(one, other)
        self.load_s[one] += taken_s
        self.load_s[other] += taken_s

    def cut(self, transfer: Transfer) -> None:
        """End a transfer early; what has arrived stays counted."""
        if transfer.done:
            return
        self._advance(transfer)
        self._leave(transfer)

    def hold(self, box: int, amount_bps: float) -> None:
        """Hold a part of a box's link from now on; negative gives it back."""
        link = self.of(box)
        for transfer in link.flowing:
            self._advance(transfer)
        link.hold(amount_bps, self._clock.now)
        self._changed(link)

    @abstractmethod
    def _enter(self, transfer: Transfer) -> None:
        """A transfer was announced."""

    @abstractmethod
    def _out(self, transfer: Transfer) -> None:
        """A transfer is over: let go what waited for it."""

    @abstractmethod
    def _changed(self, link: Link) -> None:
        """What transfers may take of a link changed; those that flow there were advanced."""

    def _begin(self, transfer: Transfer) -> None:
        now = self._clock.now
        transfer.updated = now
        transfer.flows_at = now + transfer.delay_s
        if transfer.on_flow is not None:
            transfer.on_flow(transfer)

    def _advance(self, transfer: Transfer) -> None:
        """Count what arrived since the last time."""
        now = self._clock.now
        if transfer.updated < 0:
            return
        since = max(transfer.updated, transfer.flows_at)
        transfer.updated = now
        if now <= since:
            return
        arrived = min(transfer.left, transfer.rate_bps * (now - since) / 8)
        self._count(transfer, arrived)

    def _count(self, transfer: Transfer, arrived: float) -> None:
        transfer.left -= arrived
        self.moved += arrived
        for link in transfer.ends:
            link.moved += arrived
        self.expect(transfer.source, transfer.target, -arrived)

    def _rate(self, transfer: Transfer, rate_bps: float) -> None:
        """From now on it flows this fast; its end is announced."""
        transfer.rate_bps = rate_bps
        transfer.turn += 1
        if rate_bps > 0:
            transfer.ends_at = max(self._clock.now, transfer.flows_at) + transfer.left * 8 / rate_bps
            self._clock.at(transfer.ends_at, self._arrive, transfer, transfer.turn)
        else:
            transfer.ends_at = math.inf

    def _arrive(self, transfer: Transfer, turn: int) -> None:
        if transfer.done or turn != transfer.turn:
            return
        self._advance(transfer)
        if transfer.left > _DUST_BYTES * max(1.0, transfer.size_bytes * 1e-6):
            self._rate(transfer, transfer.rate_bps)
            return
        self._count(transfer, transfer.left)
        self._leave(transfer)
        transfer.on_arrival(transfer)

    def _leave(self, transfer: Transfer) -> None:
        transfer.done = True
        if transfer.left:
            self.expect(transfer.source, transfer.target, -transfer.left)
        for link in transfer.ends:
            link.flowing.pop(transfer, None)
        self._out(transfer)


class InTurn(Links):
    """The current transfer takes all of both links; others wait, first in, first out.

    While the first in a queue cannot go because its other link is busy, one behind it may use the gap, if it will be
    done before the first could have gone: nobody's turn comes later for that, and links do not stand idle in chains.
    """

    def _enter(self, transfer: Transfer) -> None:
        one, other = transfer.ends
        one.waiting.append(transfer)
        other.waiting.append(transfer)
        if not (one.flowing or other.flowing) and self._may_go(transfer):
            self._go(transfer)

    def _may_go(self, transfer: Transfer) -> bool:
        """Whether nobody's turn comes later if it begins now; nothing flows on either link."""
        until = min(
            [math.inf if link.waiting[0] is transfer else self._gap_ends(link) for link in transfer.ends]
        )
        return until == math.inf or (until > self._clock.now and self._done_at(transfer) <= until)

    def _go(self, transfer: Transfer) -> None:
        one, other = transfer.ends
        for link in transfer.ends:
            link.waiting.remove(transfer)
            link.flowing[transfer] = None
        self._begin(transfer)
        self._rate(transfer, min(one.room_bps, other.room_bps))

    def _done_at(self, transfer: Transfer) -> float:
        """When it would have arrived if it began now."""
        one, other = transfer.ends
        rate_bps = min(one.room_bps, other.room_bps)
        if rate_bps <= 0:
            return math.inf
        return self._clock.now + transfer.delay_s + transfer.left * 8 / rate_bps

    def _gap_ends(self, link: Link) -> float:
        """Until when the first in the queue cannot go, whatever else happens."""
        one, other = link.waiting[0].ends
        far = other if one is link else one
        return next(iter(far.flowing)).ends_at if far.flowing else self._clock.now

    def _out(self, transfer: Transfer) -> None:
        for link in transfer.ends:
            self._next(link)

    def _next(self, link: Link) -> None:
        """Let the first go that may."""
        if link.flowing or not link.waiting:
            return
        gap = self._gap_ends(link) > self._clock.now
        for transfer in islice(link.waiting, _LOOKED_AT if gap else 1):
            one, other = transfer.ends
            if not (one.flowing or other.flowing) and self._may_go(transfer):
                self._go(transfer)
                return

    def _leave(self, transfer: Transfer) -> None:
        if transfer.updated < 0:  # it was still waiting
            for link in transfer.ends:
                link.waiting.remove(transfer)
        super()._leave(transfer)

    def _changed(self, link: Link) -> None:
        for transfer in link.flowing:
            self._rate(transfer, min(end.room_bps for end in transfer.ends))


class MaxMin(Links):
    """All transfers at once; nobody could get more without taking from one that has less (progressive filling).

    A link's level is what it gives to each at most, so that it is just full; a transfer flows at the lower level of
    its two ends. Levels that agree with each other in this are the fair shares, and the only ones. A change moves the
    levels of a few links and, through their transfers, those of their neighbours: these alone are looked at again,
    until none moves. It ends: the lowest level depends on no other, the next on the lowest alone, and so on.

    What changes in one instant is shared out once, at its end: no byte moves in between.
    """

    def __init__(self, clock: Clock, capacity_bps: NDArray[np.float64]) -> None:
        super().__init__(clock, capacity_bps)
        self._touched: dict[Link, None] = {}

    def _enter(self, transfer: Transfer) -> None:
        for link in transfer.ends:
            link.flowing[transfer] = None
        self._begin(transfer)
        self._touch(transfer.ends)

    def _out(self, transfer: Transfer) -> None:
        self._touch(transfer.ends)

    def _changed(self, link: Link) -> None:
        self._touch((link,))

    def _touch(self, links: Iterable[Link]) -> None:
        if not self._touched:
            self._clock.at(self._clock.now, self._share)
        self._touched.update(dict.fromkeys(links))

    def _share(self) -> None:
        """Share out anew what the touched links reach, and announce what changed."""
        touched, self._touched = self._touched, {}
        for link in _settle_levels(touched):
            for transfer in link.flowing:
                one, other = transfer.ends
                rate_bps = min(one.level_bps, other.level_bps)
                if abs(rate_bps - transfer.rate_bps) > _SAME * rate_bps:
                    self._advance(transfer)
                    self._rate(transfer, rate_bps)


def _settle_levels(touched: Iterable[Link]) -> Iterable[Link]:
    """Find the levels of these links and of what follows from them; return these links and all whose level moved."""
    moved = dict.fromkeys(touched)
    to_do = deque(moved)
    waiting = set(to_do)
    while to_do:
        link = to_do.popleft()
        waiting.discard(link)
        before, after = link.level_bps, _level(link)
        link.level_bps = after
        if before == after:
            continue
        moved[link] = None
        for transfer in link.flowing:
            one, other = transfer.ends
            far = other if one is link else one
            old, new = min(before, far.level_bps), min(after, far.level_bps)
            if abs(new - old) > _SAME * new and far not in waiting:
                waiting.add(far)
                to_do.append(far)
    return moved


def _level(link: Link) -> float:
    """What a link can give to each that its other end does not hold to less; infinite if they leave room."""
    room, count = link.room_bps, len(link.flowing)
    bounds = [
        (other if one is link else one).level_bps for one, other in (item.ends for item in link.flowing)
    ]
    for bound in sorted(bounds):
        if bound * count >= room:
            return room / count
        room -= bound
        count -= 1
    return math.inf


def make_links(sharing: Sharing, clock: Clock, capacity_bps: NDArray[np.float64]) -> Links:
    """Links that are shared in one of the two ways."""
    kinds: dict[Sharing, type[Links]] = {Sharing.IN_TURN: InTurn, Sharing.MAX_MIN: MaxMin}
    return kinds[sharing](clock, capacity_bps)
