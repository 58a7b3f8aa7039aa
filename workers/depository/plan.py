"""Which range to ask of which source next: pure decisions over `ranges.py`, without clocks, threads or sockets.

Ranges are asked in layer order, because the engine unpacks the first layer while the last is on its way. Three
things bend that order. A source that is slower than the others takes a range so far ahead that it is there when its
turn comes, and none at all once the others will be done before it. Near the end, what another source will give later
than this one could is asked a second time. And boxes that fetch the same image at the same time (`peers`) share: each
asks the boxes that hold everything for its own part first, then for what no peer has, and takes the rest from peers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from workers.depository.ranges import MOST_ASKED, BlobRanges

# A range is asked a second time if the source that owes it will need so many times as long as this one.
HEDGE_FACTOR = 1.2
# Until a source gave its first range: what one is taken to need.
FIRST_RANGE_S = 0.3
# When sharing: a peer is asked at random for one of so many next ranges that it has, so that peers differ.
NEXT_FEW = 8
# When sharing: no further ahead than so many ranges, for the engine's sake and the processor's.
WINDOW = 512
# What is smaller says more of the round trip than of the rate.
LEAST_MEASURED_BYTES = 256 * 1024
# A source that was left out for so long, being too slow, is tried again with the last free range: links change.
PROBE_S = 2.0
# How much the newest range counts in a source's rate.
NEWEST = 0.4


class Arriving(Protocol):
    """A blob on its way."""

    @property
    def digest(self) -> str:
        """Its digest."""

    @property
    def ranges(self) -> BlobRanges:
        """What is there of it."""


@dataclass
class Giver:
    """One source, as far as a plan needs to know it. Rates are bytes per second."""

    box: str
    # It is fetching the image itself: `chunks` grow while it does.
    is_peer: bool = False
    lines: int = 1
    # What it has, by digest: a bit for each chunk, lowest first; none: the whole blob.
    chunks: dict[str, bytes | None] = field(default_factory=dict)
    seconds_per_byte: float | None = None
    # When it was last asked for a range.
    asked_at: float = 0.0

    def holds(self, digest: str, chunk: int) -> bool:
        """Whether it has this chunk, as far as is known."""
        if digest not in self.chunks:
            return False
        known = self.chunks[digest]
        return known is None or (chunk >> 3 < len(known) and bool(known[chunk >> 3] >> (chunk & 7) & 1))

    def gave(self, size_bytes: int, took_s: float) -> None:
        """One of its lines gave so much in so long."""
        if size_bytes < LEAST_MEASURED_BYTES:
            return
        newest = took_s / size_bytes
        before = self.seconds_per_byte
        self.seconds_per_byte = newest if before is None else NEWEST * newest + (1 - NEWEST) * before

    def needs_s(self, size_bytes: int) -> float:
        """How long one of its lines will take."""
        return FIRST_RANGE_S if self.seconds_per_byte is None else self.seconds_per_byte * size_bytes

    @property
    def rate(self) -> float:
        """What all its lines give together; 0 while that is unknown."""
        return 0.0 if self.seconds_per_byte is None else self.lines / max(self.seconds_per_byte, 1e-12)


def bits(there: bytearray) -> bytes:
    """The chunks that are there as bits, lowest first, as `Giver.chunks` has them."""
    packed = bytearray(-(-len(there) // 8))
    for chunk, is_there in enumerate(there):
        if is_there:
            packed[chunk >> 3] |= 1 << (chunk & 7)
    return bytes(packed)


def choose(
    wanted: Sequence[Arriving],
    giver: Giver,
    others: Sequence[Giver],
    now: float,
    *,
    me: str,
    dice: random.Random,
) -> tuple[int, int] | None:
    """What to ask of `giver` next: (index in `wanted`, chunk), noted in it; none: nothing now.

    `others` are the other live sources, `me` the box that fetches, by whose name its part is found when it shares.
    """
    if giver.is_peer or any(other.is_peer for other in others):
        found = _shared(wanted, giver, others, me, dice)
    else:
        found = _in_order(wanted, giver, others, now)
    found = found or _second(wanted, giver, [giver, *others], now)
    if found is not None:
        giver.asked_at = now
    return found


def _free(wanted: Sequence[Arriving], giver: Giver) -> Iterator[tuple[int, int]]:
    """What nobody was asked for and this source has, in layer order."""
    for number, blob in enumerate(wanted):
        if blob.ranges.may_give(giver.box):
            for chunk in blob.ranges.free():
                if giver.holds(blob.digest, chunk):
                    yield number, chunk


def _in_order(
    wanted: Sequence[Arriving], giver: Giver, others: Sequence[Giver], now: float
) -> tuple[int, int] | None:
    first = next(_free(wanted, giver), None)
    if first is None:
        return None
    ahead = _ahead(wanted, giver, [other for other in others if _may(other, wanted[first[0]], first[1])])
    free = list(islice(_free(wanted, giver), ahead + 1))
    if len(free) > ahead:
        return free[ahead]
    # The others will have given all the rest before this source could give one range of it.
    return free[-1] if now - giver.asked_at > PROBE_S else None


def _may(other: Giver, blob: Arriving, chunk: int) -> bool:
    return other.holds(blob.digest, chunk) and blob.ranges.may_give(other.box)


def _ahead(wanted: Sequence[Arriving], giver: Giver, others: Sequence[Giver]) -> int:
    """How many of the free ranges quicker sources will give before this one gives one.

    Only quicker ones count, so that the quickest never waits for anybody.
    """
    if giver.seconds_per_byte is None:
        return 0
    quicker = [other for other in others if _pace(other) < _pace(giver)]
    by_them = sum(other.rate for other in quicker) * giver.seconds_per_byte
    boxes = {other.box for other in quicker}
    return max(0, int(by_them) - sum(blob.ranges.in_flight(boxes) for blob in wanted))


def _pace(giver: Giver) -> tuple[float, str]:
    return (giver.seconds_per_byte or 0.0, giver.box)


def _shared(
    wanted: Sequence[Arriving], giver: Giver, others: Sequence[Giver], me: str, dice: random.Random
) -> tuple[int, int] | None:
    free = list(islice(_free(wanted, giver), WINDOW))
    if giver.is_peer:
        return dice.choice(free[:NEXT_FEW]) if free else None
    peers = [other for other in others if other.is_peer]
    members = sorted({me, *(peer.box for peer in peers)})
    rare = [
        (number, chunk)
        for number, chunk in free
        if not any(peer.holds(wanted[number].digest, chunk) for peer in peers)
    ]
    for item in rare:
        if _part_of(wanted[item[0]].digest, item[1], members) == me:
            return item
    if rare:
        return dice.choice(rare)
    return dice.choice(free[:NEXT_FEW]) if free else None


def _part_of(digest: str, chunk: int, members: Sequence[str]) -> str:
    """Whose part of the work a chunk is; all boxes that know of each other say the same."""
    return members[(int(digest[-8:], 16) + chunk) % len(members)]


def _second(
    wanted: Sequence[Arriving], giver: Giver, givers: Sequence[Giver], now: float
) -> tuple[int, int] | None:
    """The range that will come latest, if this source can give it clearly sooner."""
    known = {item.box: item for item in givers}
    best: tuple[int, int] | None = None
    longest_s = 0.0
    for number, blob in enumerate(wanted):
        if not blob.ranges.may_give(giver.box):
            continue
        for chunk, askers in blob.ranges.asked.items():
            if giver.box in askers or len(askers) >= MOST_ASKED or not giver.holds(blob.digest, chunk):
                continue
            size = blob.ranges.span(chunk)[1]
            left_s = min(_left_s(known.get(box), size, now - since) for box, since in askers.items())
            if left_s > HEDGE_FACTOR * giver.needs_s(size) and left_s > longest_s:
                best, longest_s = (number, chunk), left_s
    return best


def _left_s(giver: Giver | None, size_bytes: int, since_s: float) -> float:
    """How long a range that was asked `since_s` ago may still take; what is overdue, half as long again."""
    needs_s = FIRST_RANGE_S if giver is None else giver.needs_s(size_bytes)
    return needs_s - since_s if since_s < needs_s else since_s / 2
