"""The fleet as arrays: one row per box, so that a decision over thousands of boxes is a few array operations.

Columns of `capacity` and `reserved` (shape (boxes, 5)): cores, memory bytes, disk bytes, bits per second, GPUs.
Disk capacity is what is free of the lent space now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.status import BoxStatus
from common.words import Coordinate, Resources, Role
from master.scheduling.request import Layer, Variant

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

COLUMNS = ("cpu", "memory", "disk", "bandwidth", "gpu")


def as_row(resources: Resources) -> Floats:
    """Resources as a row of five numbers."""
    return np.array(
        [
            resources.cpu,
            resources.memory_bytes,
            resources.disk_bytes,
            resources.bandwidth_bps,
            resources.gpu,
        ],
        dtype=np.float64,
    )


def _takes_zstd(status: BoxStatus) -> bool:
    return status.engine is not None and status.engine.zstd


@dataclass(frozen=True)
class BoxFacts:
    """One box as the fleet is built from it."""

    status: BoxStatus
    reserved: Resources
    layers: frozenset[str]
    cordoned: bool = False


@dataclass(frozen=True)
class Fleet:
    """All boxes that live now. `names[i]` is the box of row i."""

    names: tuple[str, ...]
    roles: Mapping[Role, Bools]
    open: Bools
    full: Bools  # closed by itself, for lack of room
    fixed: Bools
    cordoned: Bools
    architecture: NDArray[np.str_]
    zstd: Bools  # whose engine unpacks layers in zstd
    capacity: Floats
    reserved: Floats
    places: Floats  # (boxes, 3): x, y, height in milliseconds
    offers: Bools  # whether other boxes may fetch layers there
    layers: Mapping[str, Indices]
    filesets: Mapping[tuple[str, int], Indices]

    @classmethod
    def build(cls, boxes: Iterable[BoxFacts]) -> Fleet:
        """A fleet from what the boxes say, ordered by name."""
        facts = sorted(boxes, key=lambda box: box.status.box)
        layers: dict[str, list[int]] = {}
        filesets: dict[tuple[str, int], list[int]] = {}
        for row, box in enumerate(facts):
            for digest in box.layers:
                layers.setdefault(digest, []).append(row)
            for holding in box.status.filesets:
                filesets.setdefault((holding.fileset, holding.version), []).append(row)
        capacity = [
            as_row(box.status.capacity.model_copy(update={"disk_bytes": box.status.disk.free_bytes}))
            for box in facts
        ]
        return cls(
            names=tuple(box.status.box for box in facts),
            roles={role: np.array([role in box.status.roles for box in facts], dtype=bool) for role in Role},
            open=np.array([box.status.open for box in facts], dtype=bool),
            full=np.array([bool(box.status.alert) for box in facts], dtype=bool),
            fixed=np.array([box.status.fixed for box in facts], dtype=bool),
            cordoned=np.array([box.cordoned for box in facts], dtype=bool),
            architecture=np.array([box.status.architecture for box in facts], dtype=np.str_),
            zstd=np.array([_takes_zstd(box.status) for box in facts], dtype=bool),
            capacity=np.array(capacity, dtype=np.float64).reshape(len(facts), len(COLUMNS)),
            reserved=np.array([as_row(box.reserved) for box in facts], dtype=np.float64).reshape(
                len(facts), len(COLUMNS)
            ),
            places=np.array(
                [[c.x_ms, c.y_ms, c.height_ms] for c in (box.status.coordinate for box in facts)],
                dtype=np.float64,
            ).reshape(len(facts), 3),
            offers=np.array([box.status.offers_layers for box in facts], dtype=bool),
            layers={digest: np.array(rows, dtype=np.intp) for digest, rows in layers.items()},
            filesets={key: np.array(rows, dtype=np.intp) for key, rows in filesets.items()},
        )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def free(self) -> Floats:
        """What is neither used nor reserved, shape (boxes, 5)."""
        room: Floats = self.capacity - self.reserved
        return room

    def missing_bytes(self, layers: Iterable[Layer]) -> Floats:
        """Bytes of these layers that each box does not hold yet, shape (boxes,)."""
        missing = np.zeros(len(self), dtype=np.float64)
        for layer in layers:
            missing += layer.size_bytes
            if (holders := self.layers.get(layer.digest)) is not None:
                missing[holders] -= layer.size_bytes
        return missing

    def offering(self, digest: str) -> Indices:
        """The boxes from which a layer can be fetched."""
        rows = self.layers.get(digest, np.zeros(0, dtype=np.intp))
        found: Indices = rows[self.offers[rows]]
        return found

    def suited(self, variants: Sequence[Variant]) -> Indices:
        """For each box the number of the first variant that it can run, -1 for none; shape (boxes,)."""
        chosen = np.full(len(self), -1, dtype=np.intp)
        for number in range(len(variants) - 1, -1, -1):
            variant = variants[number]
            able = self.architecture == variant.architecture
            chosen[able & self.zstd if variant.zstd else able] = number
        return chosen

    def missing_of(self, variants: Sequence[Variant]) -> Floats:
        """Bytes that each box lacks of the variant that it would run; 0 where it can run none."""
        missing, suited = np.zeros(len(self), dtype=np.float64), self.suited(variants)
        for number, variant in enumerate(variants):
            rows = suited == number
            missing[rows] = self.missing_bytes(variant.layers)[rows]
        return missing

    def holds_fileset(self, fileset: str, version: int) -> Bools:
        """Which boxes hold a fileset at this version, shape (boxes,)."""
        mask = np.zeros(len(self), dtype=bool)
        if (holders := self.filesets.get((fileset, version))) is not None:
            mask[holders] = True
        return mask

    def distance_ms(self, place: Coordinate | Floats) -> Floats:
        """Round trip from a place to each box: plane distance plus both heights (Vivaldi), shape (boxes,)."""
        point = (
            np.array([place.x_ms, place.y_ms, place.height_ms]) if isinstance(place, Coordinate) else place
        )
        plane = np.hypot(self.places[:, 0] - point[0], self.places[:, 1] - point[1])
        distance: Floats = plane + self.places[:, 2] + point[2]
        return distance
