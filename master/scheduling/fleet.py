"""The fleet as arrays, one row per box, changed one row at a time.

A decision over thousands of boxes is a few array operations; a reservation, a status or a layer changes one row.
A box keeps its row as long as it is known; `Fleet.build` numbers them by name, and those that join later follow.
Arrays may be longer than there are boxes: the rows behind have nobody (`up` is false there).

`capacity`, `reserved` and `free` have the shape (5, rows): cores, memory bytes, disk bytes, bits per second, GPUs.
Disk capacity is what is free of the lent space now.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.words import BoxKind, Resources, Role
from master.scheduling.facts import BoxFacts
from master.scheduling.holders import NOBODY, Holders, Indices
from master.scheduling.layers import Bools, Floats, ImageColumn, LayerBook
from master.scheduling.request import UNPACKED_FACTOR, FilesetNeed, Layer, Place, Variant

COLUMNS = ("cpu", "memory", "disk", "bandwidth", "gpu")
CPU, MEMORY, DISK, BANDWIDTH, GPU = range(5)
KINDS = tuple(BoxKind)
Key = TypeVar("Key", bound=Hashable)

SLACK = 1e-9  # of what floating point adds and takes away

# What is expected where nothing has been learnt yet.
LAUNCH_S = np.full(len(KINDS), 1.0)
MOUNT_S = 0.3

_FLAGS = ("up", "open", "full", "fixed", "paused", "cordoned", "central", "offers", "zstd")


def amounts_of(resources: Resources) -> tuple[float, float, float, float, float]:
    """Resources as five numbers, in the order of COLUMNS."""
    return (
        resources.cpu,
        resources.memory_bytes,
        resources.disk_bytes,
        resources.bandwidth_bps,
        resources.gpu,
    )


class Fleet:
    """All boxes that are known. Read its arrays as you like; change them only by its methods.

    `layer_room` is how many bytes of disk a byte of a layer to fetch takes; `backbone_ms` (areas, areas), if any,
    is added to every distance between two areas.
    """

    def __init__(
        self,
        rows: int = 0,
        *,
        layer_room: float = 1 + UNPACKED_FACTOR,
        backbone_ms: Floats | None = None,
    ) -> None:
        self.layer_room = layer_room
        self.backbone_ms = backbone_ms
        self.names: list[str] = []
        self.row_of: dict[str, int] = {}
        self.why_paused: dict[int, str] = {}
        self.up = np.zeros(rows, dtype=bool)
        self.open = np.zeros(rows, dtype=bool)
        self.full = np.zeros(rows, dtype=bool)  # closed by itself, for lack of room
        self.fixed = np.zeros(rows, dtype=bool)
        self.paused = np.zeros(rows, dtype=bool)  # by its owner's rules
        self.cordoned = np.zeros(rows, dtype=bool)
        self.central = np.zeros(rows, dtype=bool)
        self.offers = np.zeros(rows, dtype=bool)  # whether other boxes may fetch layers there
        self.zstd = np.zeros(rows, dtype=bool)
        self.roles = {role: np.zeros(rows, dtype=bool) for role in Role}
        self.takes = np.zeros(rows, dtype=bool)  # whether it takes new instances, but for room and kind
        self.serving = np.zeros(rows, dtype=bool)  # whether others fetch layers there now
        self.kind = np.zeros(rows, dtype=np.intp)  # index into KINDS
        self.architecture = np.full(rows, -1, dtype=np.intp)  # index into `architectures`
        self.architectures: list[str] = []
        self.capacity = np.zeros((5, rows))
        self.reserved = np.zeros((5, rows))
        self.free = np.zeros((5, rows))
        self.places = np.zeros((3, rows))  # x, y, height in milliseconds
        self.area = np.zeros(rows, dtype=np.intp)
        self.s_per_byte = np.ones(rows)  # of its link, as expected
        self.inbound_bytes = np.zeros(rows)  # what it still fetches
        self.outbound_bytes = np.zeros(rows)  # what it is still to send
        self.distrust = np.zeros(rows)  # 0 to 1: how likely it fails what it is given
        self.launches: dict[str, Floats] = {}  # image → seconds to launch it, per kind
        self.mount_s = MOUNT_S
        self.layers = LayerBook(self.serving)
        self._runs: dict[tuple[str, bool], Bools] = {}
        self._filesets: dict[tuple[str, int], Holders] = {}
        self._filesets_of: dict[int, frozenset[tuple[str, int]]] = {}
        self._labels: dict[tuple[str, str], Holders] = {}
        self._labels_of: dict[int, Mapping[str, str]] = {}

    @classmethod
    def build(
        cls,
        boxes: Iterable[BoxFacts],
        *,
        layer_room: float = 1 + UNPACKED_FACTOR,
        backbone_ms: Floats | None = None,
    ) -> Fleet:
        """A fleet of these boxes, ordered by name."""
        facts = sorted(boxes, key=lambda box: box.name)
        fleet = cls(len(facts), layer_room=layer_room, backbone_ms=backbone_ms)
        for box in facts:
            fleet.put(box)
        return fleet

    def __len__(self) -> int:
        return len(self.names)

    # --- changes -------------------------------------------------------------------------------------------

    def put(self, box: BoxFacts) -> int:
        """A box joins, or says something new of itself; returns its row."""
        row = self.row_of.get(box.name)
        if row is None:
            row = self._append(box.name)
        for flag in _FLAGS[1:]:
            getattr(self, flag)[row] = bool(getattr(box, flag))
        self.up[row] = True
        for role, members in self.roles.items():
            members[row] = role in box.roles
        if box.paused:
            self.why_paused[row] = box.paused
        else:
            self.why_paused.pop(row, None)
        self.kind[row] = KINDS.index(box.kind)
        self._set_architecture(row, box.architecture)
        self.places[:, row] = box.place[:3]
        self.area[row] = box.place.area
        self.capacity[:, row] = amounts_of(box.capacity)
        self.reserved[:, row] = amounts_of(box.reserved)
        self.set_rate(row, box.capacity.bandwidth_bps)
        self.layers.replace(row, box.layers)
        self._set_filesets(row, box.filesets)
        self._set_labels(row, box.labels)
        self._settle(row)
        return row

    def leave(self, row: int) -> None:
        """A box is silent: nobody counts on it, but what it holds is there again when it returns."""
        self.up[row] = False
        self._settle(row)

    def come_back(self, row: int) -> None:
        """A silent box is there again, as it was."""
        self.up[row] = True
        self._settle(row)

    def forget(self, row: int) -> None:
        """A box is gone for good. Its row stays, without anything."""
        name = self.names[row]
        self.leave(row)
        self.layers.replace(row, ())
        self._set_filesets(row, frozenset())
        self._set_labels(row, {})
        self.row_of.pop(name, None)
        self.why_paused.pop(row, None)

    def set_open(self, row: int, is_open: bool) -> None:
        """A box opens or closes itself to new instances."""
        self.open[row] = is_open
        self._settle(row)

    def set_fixed(self, row: int, is_fixed: bool) -> None:
        """A box counts as fixed or as unstable from now on: its record may lower what its owner declared."""
        self.fixed[row] = is_fixed
        self._settle(row)

    def set_capacity(self, row: int, capacity: Sequence[float]) -> None:
        """A box has another capacity now (five amounts)."""
        self.capacity[:, row] = capacity
        self._settle(row)

    def set_reserved(self, row: int, reserved: Sequence[float]) -> None:
        """So much of a box is reserved now (five amounts)."""
        self.reserved[:, row] = reserved
        self._settle(row)

    def reserve(self, row: int, amounts: Sequence[float]) -> None:
        """Five amounts of a box are taken."""
        self.reserved[:, row] += amounts
        self._settle(row)

    def release(self, row: int, amounts: Sequence[float]) -> None:
        """Five amounts of a box are free again."""
        self.reserved[:, row] -= amounts
        self._settle(row)

    def set_rate(self, row: int, rate_bps: float) -> None:
        """What a box's link is expected to carry."""
        self.s_per_byte[row] = 8.0 / max(1.0, rate_bps)

    def begin_fetch(self, row: int, missing_bytes: float, sources: Indices) -> None:
        """A box begins to fetch layers from others, which send in proportion to their rates."""
        self._load(row, missing_bytes, sources)

    def end_fetch(self, row: int, missing_bytes: float, sources: Indices) -> None:
        """What `begin_fetch` was told of is over."""
        self._load(row, -missing_bytes, sources)

    def gain(self, row: int, digest: str) -> None:
        """A box holds one layer more."""
        self.layers.gain(row, digest)

    def lose(self, row: int, digest: str) -> None:
        """A box holds a layer no more."""
        self.layers.lose(row, digest)

    def hold_fileset(self, row: int, fileset: str, version: int) -> None:
        """A box holds one fileset more."""
        self._set_filesets(row, self._filesets_of.get(row, frozenset()) | {(fileset, version)})

    def drop_fileset(self, row: int, fileset: str, version: int) -> None:
        """A box holds a fileset no more."""
        self._set_filesets(row, self._filesets_of.get(row, frozenset()) - {(fileset, version)})

    # --- questions -----------------------------------------------------------------------------------------

    def distances_ms(self, places: Floats) -> Floats:
        """Round trips from n places (n, 4: x, y, height, area) to all boxes, shape (n, rows).

        Plane distance plus both heights (Vivaldi), and what lies between their areas.
        """
        distance: Floats = self.places[0] - places[:, 0, None]
        distance *= distance
        along = self.places[1] - places[:, 1, None]
        along *= along
        distance += along
        np.sqrt(distance, out=distance)
        distance += self.places[2]
        distance += places[:, 2, None]
        if self.backbone_ms is not None:
            distance += self.backbone_ms[places[:, 3].astype(np.intp)][:, self.area]
        return distance

    def distance_ms(self, place: Place, rows: Indices | None = None) -> Floats:
        """Round trips from one place to all boxes, or to those of `rows`."""
        there = self.places if rows is None else self.places[:, rows]
        distance: Floats = there[0] - place.x_ms
        distance *= distance
        along = there[1] - place.y_ms
        along *= along
        distance += along
        np.sqrt(distance, out=distance)
        distance += there[2]
        distance += place.height_ms
        if self.backbone_ms is not None:
            distance += self.backbone_ms[place.area][self.area if rows is None else self.area[rows]]
        return distance

    def place_of(self, row: int) -> Place:
        """Where a box is."""
        x, y, height = self.places[:, row]
        return Place(float(x), float(y), float(height), int(self.area[row]))

    def runs(self, variant: Variant) -> Bools:
        """Which boxes run images of this kind, shape (rows,)."""
        key = (variant.architecture, variant.zstd)
        mask = self._runs.get(key)
        if mask is None:
            code = self._code(variant.architecture)
            mask = self.architecture == code
            if variant.zstd:
                mask &= self.zstd
            self._runs[key] = mask
        return mask

    def suited(self, variants: Sequence[Variant]) -> Indices:
        """For each box the number of the first variant that it can run, -1 for none; shape (rows,)."""
        chosen = np.full(len(self.up), -1, dtype=np.intp)
        for number in range(len(variants) - 1, -1, -1):
            chosen[self.runs(variants[number])] = number
        return chosen

    def variant_for(self, variants: Sequence[Variant], row: int) -> Variant:
        """The first variant that a box can run; raises StopIteration where it can run none."""
        return next(variant for variant in variants if self.runs(variant)[row])

    def image(self, variant: Variant) -> ImageColumn:
        """What the boxes lack of an image, and where its layers come from."""
        return self.layers.column(variant)

    def missing_of(self, variants: Sequence[Variant]) -> Floats:
        """Bytes that each box lacks of the variant that it would run; shape (rows,), not to be changed.

        What stands there for a box that can run none means nothing.
        """
        if len(variants) == 1:
            return self.image(variants[0]).missing
        missing, suited = np.zeros(len(self.up)), self.suited(variants)
        for number, variant in enumerate(variants):
            np.copyto(missing, self.image(variant).missing, where=suited == number)
        return missing

    def missing_bytes(self, layers: Iterable[Layer]) -> Floats:
        """Bytes of these layers that each box does not hold, shape (rows,)."""
        missing = np.zeros(len(self.up))
        for layer in layers:
            missing += layer.size_bytes
            missing[self.layers.holders(layer.digest)] -= layer.size_bytes
        return missing

    def filestores(self, need: FilesetNeed) -> Indices:
        """Fixed filestores that are up and hold the fileset (or have room for a new home), ascending."""
        if need.held_by is None:
            held = self._filesets.get((need.fileset, need.version))
            rows = NOBODY if held is None else held.rows
        elif need.held_by:
            rows = self.rows_of(need.held_by)
        else:
            room = self.free[DISK] >= need.room_bytes
            room &= ~self.cordoned
            room &= ~self.central
            rows = np.flatnonzero(room)
        return rows[self.up[rows] & self.fixed[rows] & self.roles[Role.FILESTORE][rows]]

    def taken(self, column: int, more: float = 0.0) -> Floats:
        """The share of one amount that is reserved, with `more`; 1 where a box has none of it. Shape (rows,)."""
        share = np.ones(len(self.up))
        capacity = self.capacity[column]
        np.divide(self.reserved[column] + more, capacity, out=share, where=capacity > 0)
        return share

    def launch_s(self, image: str) -> Floats:
        """How long launching an image takes on boxes of each kind, as expected."""
        return self.launches.get(image, LAUNCH_S)

    def labelled(self, key: str, value: str) -> Indices:
        """The boxes with this label, ascending."""
        found = self._labels.get((key, value))
        return NOBODY if found is None else found.rows

    def labels_of(self, row: int) -> Mapping[str, str]:
        """All labels of a box."""
        return self._labels_of.get(row, {})

    def rows_of(self, names: Iterable[str]) -> Indices:
        """The rows of those boxes that are known, ascending."""
        found = [row for name in names if (row := self.row_of.get(name)) is not None]
        return np.array(sorted(found), dtype=np.intp)

    # --- inside --------------------------------------------------------------------------------------------

    def _settle(self, row: int) -> None:
        """Derive what follows from the facts of one row."""
        room = self.capacity[:, row] - self.reserved[:, row]
        self.free[:, row] = room
        self.takes[row] = (
            self.up[row]
            and self.open[row]
            and self.fixed[row]
            and self.roles[Role.COMPUTE][row]
            and not (self.full[row] or self.paused[row] or self.cordoned[row] or self.central[row])
            and room.min() >= -SLACK
        )
        serving = bool(self.up[row] and self.offers[row] and not self.central[row])
        if serving != self.serving[row]:
            self.serving[row] = serving
            self.layers.served_by(self.serving)

    def _load(self, row: int, amount: float, sources: Indices) -> None:
        self.inbound_bytes[row] += amount
        if len(sources):
            self.outbound_bytes[sources] += amount / len(sources)

    def _append(self, name: str) -> int:
        row = len(self.names)
        if row == len(self.up):
            self._grow(max(16, row // 4))
        self.names.append(name)
        self.row_of[name] = row
        return row

    def _grow(self, more: int) -> None:
        for attribute, values in list(vars(self).items()):
            if isinstance(values, np.ndarray) and attribute != "backbone_ms":
                setattr(self, attribute, _longer(values, more))
        self.roles = {role: _longer(members, more) for role, members in self.roles.items()}
        self._runs.clear()
        self.layers.resize(self.serving)

    def _code(self, architecture: str) -> int:
        if architecture not in self.architectures:
            self.architectures.append(architecture)
        return self.architectures.index(architecture)

    def _set_architecture(self, row: int, architecture: str) -> None:
        self.architecture[row] = self._code(architecture)
        for (wanted, zstd), mask in self._runs.items():
            mask[row] = wanted == architecture and (bool(self.zstd[row]) or not zstd)

    def _set_filesets(self, row: int, now: frozenset[tuple[str, int]]) -> None:
        _move(self._filesets, row, self._filesets_of.get(row, frozenset()), now)
        self._filesets_of[row] = now

    def _set_labels(self, row: int, now: Mapping[str, str]) -> None:
        _move(self._labels, row, self._labels_of.get(row, {}).items(), now.items())
        self._labels_of[row] = dict(now)


def _longer(values: NDArray[Any], more: int) -> NDArray[Any]:
    """The same with `more` rows behind."""
    shape = (*values.shape[:-1], more)
    return np.concatenate([values, np.zeros(shape, dtype=values.dtype)], axis=-1)


def _move(table: dict[Key, Holders], row: int, before: Iterable[Key], now: Iterable[Key]) -> None:
    """Let `row` hold what it holds now instead of what it held."""
    gone, come = set(before) - set(now), set(now) - set(before)
    for key in gone:
        table[key].discard(row)
        if not len(table[key]):
            del table[key]
    for key in come:
        table.setdefault(key, Holders()).add(row)
