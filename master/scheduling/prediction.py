"""What history says of boxes: how quick their links and launches are, and how often they fail.

Small, online and bounded: each estimate is a window of the last samples, drawn towards what is expected of a box
that nobody knows, so that one bad sample never condemns anybody and a few good ones make up for it.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, KeysView, Mapping
from typing import Generic, TypeVar

import numpy as np

from common.words import BoxKind, Role
from master.scheduling.fleet import BANDWIDTH, KINDS, LAUNCH_S, MOUNT_S, Fleet

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

WINDOW = 15
# An estimate counts as much as so many samples before there are any.
PRIOR_SAMPLES = 2.0
# Less than this says more of round trips than of rates.
TELLING_BYTES = 1_000_000
# A link is held for what it reached in its better transfers: others were slowed down by the other end.
LINK_QUANTILE = 0.75
# How many successes an unknown box is credited with, and when a success or failure counts half.
CREDIT = 10.0
HALF_LIFE_S = 6 * 3600.0

# From this distrust on a depository is asked only where there is nobody else.
DOUBTED = 0.4

# Of an image as it is sent, where all of it lies on the box; after a fetch about half of that is left to do.
UNPACK_S_PER_BYTE = 26e-9

MOST_BOXES = 100_000
MOST_PAIRS = 50_000
MOST_IMAGES = 5_000


class Window:
    """A robust estimate of an amount from its last samples."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=WINDOW)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, sample: float) -> None:
        """One more; the oldest goes."""
        self._samples.append(sample)

    def estimate(self, prior: float, *, quantile: float = 0.5) -> float:
        """The quantile of the samples, drawn towards the prior while they are few."""
        if not self._samples:
            return prior
        ordered = sorted(self._samples)
        at = quantile * (len(ordered) - 1)
        below = int(at)
        above = min(below + 1, len(ordered) - 1)
        value = ordered[below] + (at - below) * (ordered[above] - ordered[below])
        belief = PRIOR_SAMPLES * (1 - len(ordered) / WINDOW)  # a full window needs no belief
        return (prior * belief + value * len(ordered)) / (belief + len(ordered))


class Record:
    """Successes and failures, each counting half after `HALF_LIFE_S`."""

    __slots__ = ("_at", "_failures", "_successes")

    def __init__(self) -> None:
        self._at = -math.inf
        self._successes = 0.0
        self._failures = 0.0

    def add(self, at: float, *, failed: bool) -> None:
        """What happened at a time (seconds); what comes late counts as if it had come in time."""
        share = self._left(at)
        self._successes *= share
        self._failures *= share
        self._at = max(self._at, at)
        late = 0.5 ** ((self._at - at) / HALF_LIFE_S)
        self._failures += late if failed else 0.0
        self._successes += 0.0 if failed else late

    def distrust(self, now: float) -> float:
        """How likely it fails next, 0 to 1; 0 for one of which nothing is known."""
        share = self._left(now)
        failures = self._failures * share
        return failures / (failures + self._successes * share + CREDIT)

    def _left(self, now: float) -> float:
        if self._at == -math.inf or now <= self._at:
            return 1.0
        return float(0.5 ** ((now - self._at) / HALF_LIFE_S))


class Kept(Generic[Key, Value]):
    """At most so many values; the one longest untouched goes first."""

    def __init__(self, most: int, make: Callable[[], Value]) -> None:
        self._most = most
        self._make = make
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        """The value, if there is one."""
        return self._values.get(key)

    def keys(self) -> KeysView[Key]:
        """Of all that is kept."""
        return self._values.keys()

    def touch(self, key: Key) -> Value:
        """The value, made if need be."""
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = self._make()
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        else:
            self._values.move_to_end(key)
        return value


class History:
    """Takes in what happened, and tells a fleet what to expect."""

    def __init__(self) -> None:
        self._links: Kept[str, Window] = Kept(MOST_BOXES, Window)
        self._pairs: Kept[tuple[str, str], Window] = Kept(MOST_PAIRS, Window)
        self._records: Kept[tuple[str, Role], Record] = Kept(MOST_BOXES, Record)
        self._launches: Kept[str, dict[BoxKind, Window]] = Kept(MOST_IMAGES, dict)
        self._mounts = Window()
        # Seconds per byte that engines take after the last byte, where all lay there already and after a fetch.
        self._unpacking_there, self._unpacking_fetched = Window(), Window()
        self._unpacked: Kept[tuple[str, str], bool] = Kept(MOST_PAIRS, bool)  # box and image
        self._new_unpacked: set[tuple[str, str]] = set()
        self._changed: set[str] = set()  # boxes of which something new is known
        self._images: set[str] = set()
        self._changed_pairs: set[tuple[str, str]] = set()

    def fetched(self, box: str, size_bytes: int, took_s: float, sources: Mapping[str, int]) -> None:
        """A box fetched layers: so many bytes from each source, in this time."""
        if took_s <= 0:
            return
        if size_bytes >= TELLING_BYTES:
            self._links.touch(box).add(size_bytes * 8 / took_s)
            self._changed.add(box)
        for source, sent_bytes in sources.items():
            if sent_bytes >= TELLING_BYTES and source != box:
                self._pairs.touch((box, source)).add(sent_bytes * 8 / took_s)
                self._changed_pairs.add((box, source))

    def launched(self, image: str, kind: BoxKind, took_s: float) -> None:
        """An image came up on a box of this kind, from the first step that needs all its layers to running."""
        self._launches.touch(image).setdefault(kind, Window()).add(took_s)
        self._images.add(image)

    def has_come_up(self, image: str) -> bool:
        """Whether an image is known to have come up on any box."""
        return self._launches.get(image) is not None

    def unpacked(self, size_bytes: int, took_s: float, fetched_bytes: int) -> None:
        """An engine unpacked layers of so many bytes, and was done so long after the last of them had come."""
        if size_bytes < TELLING_BYTES:
            return
        window = self._unpacking_fetched if fetched_bytes * 2 > size_bytes else self._unpacking_there
        window.add(took_s / size_bytes)

    def has_unpacked(self, box: str, image: str) -> None:
        """An image ran on a box, so its engine has it unpacked."""
        self._unpacked.touch((box, image))
        self._new_unpacked.add((box, image))

    def mounted(self, took_s: float) -> None:
        """The files of an instance were exported and mounted."""
        self._mounts.add(took_s)

    def did_well(self, box: str, role: Role, at: float) -> None:
        """A box did in this role what it was given."""
        self._records.touch((box, role)).add(at, failed=False)
        self._changed.add(box)

    def failed(self, box: str, role: Role, at: float) -> None:
        """A box failed in this role, or went away with what it was doing."""
        self._records.touch((box, role)).add(at, failed=True)
        self._changed.add(box)

    def distrust(self, box: str, role: Role, now: float) -> float:
        """How likely a box fails in a role, 0 to 1."""
        record = self._records.get((box, role))
        return 0.0 if record is None else record.distrust(now)

    def link_bps(self, box: str, declared_bps: float) -> float:
        """What a box's link carries, as expected."""
        window = self._links.get(box)
        return declared_bps if window is None else window.estimate(declared_bps, quantile=LINK_QUANTILE)

    def pair_bps(self, box: str, source: str, prior_bps: float) -> float:
        """At what rate a box gets layers from a source, as expected."""
        window = self._pairs.get((box, source))
        return prior_bps if window is None else window.estimate(prior_bps)

    def launch_s(self, image: str, kind: BoxKind) -> float:
        """How long an image takes to come up; what is known of other kinds of boxes is better than nothing."""
        windows = self._launches.get(image) or {}
        others = [window.estimate(LAUNCH_S) for other, window in windows.items() if other is not kind]
        prior = sum(others) / len(others) if others else LAUNCH_S
        own = windows.get(kind)
        return prior if own is None else own.estimate(prior)

    def mount_s(self) -> float:
        """How long files take to be there."""
        return self._mounts.estimate(MOUNT_S)

    def tell(self, fleet: Fleet, now: float, *, everything: bool = False) -> None:
        """Write what is expected into a fleet's arrays: what changed since the last time, or everything.

        Distrust fades with time, so everything is to be told now and then.
        """
        names = fleet.row_of if everything else self._changed & fleet.row_of.keys()
        for name in names:
            self._tell_of(name, fleet, now)
        if everything:
            fleet.forget_launches()  # what was forgotten here is forgotten there
        for image in self._launches.keys() if everything else self._images:
            fleet.set_launch(image, np.array([self.launch_s(image, kind) for kind in KINDS]))
        self._tell_of_engines(fleet, everything=everything)
        fleet.set_mount(self.mount_s())
        for box, source in self._pairs.keys() if everything else self._changed_pairs:
            self._tell_of_pair(box, source, fleet)
        self._changed.clear()
        self._changed_pairs.clear()
        self._images.clear()

    def _tell_of_pair(self, box: str, source: str, fleet: Fleet) -> None:
        row, other = fleet.row_of.get(box), fleet.row_of.get(source)
        if row is not None and other is not None:
            at_best = 8.0 / float(max(fleet.s_per_byte[row], fleet.s_per_byte[other]))
            fleet.network.set_pair(row, other, self.pair_bps(box, source, at_best))

    def _tell_of_engines(self, fleet: Fleet, *, everything: bool) -> None:
        if self._unpacking_there or self._unpacking_fetched:
            there = self._unpacking_there.estimate(UNPACK_S_PER_BYTE)
            fetched = self._unpacking_fetched.estimate(min(there, UNPACK_S_PER_BYTE / 2))
            fleet.unpacking.set_pace(there, fetched)
        if everything:
            fleet.unpacking.forget()
        for box, image in self._unpacked.keys() if everything else self._new_unpacked:
            if (row := fleet.row_of.get(box)) is not None:
                fleet.unpacking.note(image, row)
        self._new_unpacked.clear()

    def _tell_of(self, name: str, fleet: Fleet, now: float) -> None:
        row = fleet.row_of[name]
        fleet.set_rate(row, self.link_bps(name, float(fleet.capacity[BANDWIDTH, row])))
        fleet.set_distrust(row, self.distrust(name, Role.COMPUTE, now))
        fleet.set_store_distrust(row, self.distrust(name, Role.FILESTORE, now))
        fleet.set_doubted(row, self.distrust(name, Role.DEPOSITORY, now) >= DOUBTED)


def mean_error(pairs: Iterable[tuple[float, float]]) -> tuple[int, float, float]:
    """Of (predicted, actual): how many, the mean error as a share of the actual mean, and the mean difference."""
    known = list(pairs)
    if not known:
        return 0, 0.0, 0.0
    actual = sum(took for _, took in known) / len(known)
    apart = sum(abs(said - took) for said, took in known) / len(known)
    bias = sum(said - took for said, took in known) / len(known)
    return len(known), apart / actual if actual else 0.0, bias
