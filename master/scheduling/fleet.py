"""The fleet as arrays, one row per box, changed one row at a time.

A decision over thousands of boxes is a few array operations; a reservation, a status or a layer changes one row.
A box keeps its row as long as it is known; `Fleet.build` numbers them by name, and those that join later follow.
Arrays may be longer than there are boxes: the rows behind have nobody (`up` is false there).

`capacity`, `reserved` and `free` have the shape (5, rows): cores, memory bytes, disk bytes, bits per second, GPUs.
Disk capacity is what is free of the lent space now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from common.images import UNPACKED_FACTOR
from common.words import BoxKind, Resources, Role
from master.scheduling.facts import BoxFacts
from master.scheduling.holders import Indices, Register
from master.scheduling.layers import Bools, Column, Floats, LayerBook
from master.scheduling.network import Network, longer
from master.scheduling.request import FilesetNeed, Layer, Place, Variant
from master.scheduling.unpacking import Unpacking

COLUMNS = ("cpu", "memory", "disk", "bandwidth", "gpu")
CPU, MEMORY, DISK, BANDWIDTH, GPU = range(5)
KINDS = tuple(BoxKind)
SLACK = 1e-9  # of what floating point adds and takes away

# What is expected where nothing has been learnt yet.
LAUNCH_S = 1.0
MOUNT_S = 0.3

_FLAGS = ("open", "full", "fixed", "paused", "cordoned", "central", "offers", "zstd")


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

    `layer_room` is how many bytes of disk a byte of a layer to fetch takes; for `backbone_ms` see Network.
    """

    def __init__(
        self,
        rows: int = 0,
        *,
        layer_room: float = 1 + UNPACKED_FACTOR,
        backbone_ms: Floats | None = None,
    ) -> None:
        self.layer_room = layer_room
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
        self.takes_files = np.zeros(rows, dtype=bool)  # whether new filesets may lie there, but for room
        self.serving = np.zeros(rows, dtype=bool)  # whether others fetch layers there now
        self.kind = np.zeros(rows, dtype=np.intp)  # index into KINDS
        self.architecture = np.full(rows, -1, dtype=np.intp)  # index into `architectures`
        self.architectures: list[str] = []
        self.capacity = np.zeros((5, rows))
        self.reserved = np.zeros((5, rows))
        self.free = np.zeros((5, rows))
        self.s_per_byte = np.ones(rows)  # of its link, as expected
        self.inbound_bytes = np.zeros(rows)  # what it still fetches
        self.outbound_bytes = np.zeros(rows)  # what it is still to send
        self.distrust = np.zeros(rows)  # 0 to 1: how likely it fails what it is given to compute
        self.store_distrust = np.zeros(rows)  # the same of a filestore
        self.doubted = np.zeros(rows, dtype=bool)  # a depository that failed too often lately
        self.launches: dict[str, Floats] = {}  # image → seconds to launch it, per kind
        self.mount_s = MOUNT_S
        self.unpacking = Unpacking()
        self.layers = LayerBook(self.serving, self.doubted)
        self.network = Network(rows, backbone_ms)
        self.prewarmed: dict[str, dict[int, int]] = {}  # name → row → how many instances wait there
        self.filesets: Register[tuple[str, int]] = Register()  # (fileset, version)
        self.labels: Register[tuple[str, str]] = Register()  # (key, value)
        self._suited: dict[tuple[tuple[str, bool], ...], Indices] = {}
        self._runs: dict[tuple[str, bool], Bools] = {}

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
        was = (int(self.architecture[row]), bool(self.zstd[row]))
        for flag in _FLAGS:
            getattr(self, flag)[row] = bool(getattr(box, flag))
        self.up[row] = True
        for role, members in self.roles.items():
            members[row] = role in box.roles
        if box.paused:
            self.why_paused[row] = box.paused
        else:
            self.why_paused.pop(row, None)
        self.kind[row] = KINDS.index(box.kind)
        self.architecture[row] = self._code(box.architecture)
        if was != (self.architecture[row], self.zstd[row]):
            self._runs.clear()
            self._suited.clear()
            self.layers.forget_columns()
        self.network.put(row, box.place)
        if self.capacity[BANDWIDTH, row] != box.capacity.bandwidth_bps:
            self.set_rate(row, box.capacity.bandwidth_bps)  # until history tells better
        self.capacity[:, row] = amounts_of(box.capacity)
        self.reserved[:, row] = amounts_of(box.reserved)
        self.layers.replace(row, box.layers)
        self.filesets.replace(row, box.filesets)
        self.labels.replace(row, frozenset(box.labels.items()))
        self._put_prewarmed(row, box.prewarmed)
        self._settle(row)
        return row

    def _put_prewarmed(self, row: int, waiting: Mapping[str, int]) -> None:
        for name in self.prewarmed.keys() | waiting.keys():
            rows = self.prewarmed.setdefault(name, {})
            rows.pop(row, None)
            if count := waiting.get(name, 0):
                rows[row] = count

    def take_prewarmed(self, row: int, name: str) -> None:
        """Somebody is placed there and gets one of those that wait, if one does."""
        rows = self.prewarmed.get(name, {})
        if row in rows:
            rows[row] -= 1
            if not rows[row]:
                del rows[row]

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
        self.filesets.replace(row, frozenset())
        self.labels.replace(row, frozenset())
        self.row_of.pop(name, None)
        self.why_paused.pop(row, None)
        self.network.forget_pairs(row)

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

    def set_doubted(self, row: int, is_doubted: bool) -> None:
        """A depository is asked only where there is nobody else, or like all others again."""
        if self.doubted[row] != is_doubted:
            self.doubted[row] = is_doubted
            self.layers.ask_others()

    def set_distrust(self, row: int, distrust: float) -> None:
        """How likely a box fails what it is given to compute, 0 to 1."""
        self.distrust[row] = distrust

    def set_store_distrust(self, row: int, distrust: float) -> None:
        """How likely a box fails as a filestore, 0 to 1."""
        self.store_distrust[row] = distrust

    def set_launch(self, image: str, launch_s: Floats) -> None:
        """How long an image takes to launch, as expected: seconds per kind of box."""
        self.launches[image] = launch_s

    def forget_launches(self) -> None:
        """Nothing is known of any image any more."""
        self.launches.clear()

    def set_mount(self, mount_s: float) -> None:
        """How long files take to be there, as expected, but for the way."""
        self.mount_s = mount_s

    def set_backlogs(self, still_bytes: Floats | float) -> None:
        """What boxes still have to fetch, and to send: as much both ways, per row or for all."""
        self.inbound_bytes[: len(self)] = still_bytes
        self.outbound_bytes[: len(self)] = still_bytes

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
        self.filesets.replace(row, self.filesets.of(row) | {(fileset, version)})

    def drop_fileset(self, row: int, fileset: str, version: int) -> None:
        """A box holds a fileset no more."""
        self.filesets.replace(row, self.filesets.of(row) - {(fileset, version)})

    # --- questions -----------------------------------------------------------------------------------------

    def distance_ms(self, place: Place) -> Floats:
        """Round trips from a place to all boxes, shape (rows,); the caller may change it."""
        return self.network.distance_ms(place)

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

    def suited(self, variants: tuple[Variant, ...]) -> Indices:
        """For each box the number of the first variant that it can run, -1 for none; shape (rows,)."""
        key = tuple([(variant.architecture, variant.zstd) for variant in variants])
        chosen = self._suited.get(key)
        if chosen is None:
            chosen = np.full(len(self.up), -1, dtype=np.intp)
            for number in range(len(variants) - 1, -1, -1):
                chosen[self.runs(variants[number])] = number
            self._suited[key] = chosen
        return chosen

    def variant_for(self, variants: tuple[Variant, ...], row: int) -> Variant:
        """The first variant that a box can run, which has to be able to run one."""
        return variants[0] if len(variants) == 1 else variants[int(self.suited(variants)[row])]

    def column(self, variants: tuple[Variant, ...]) -> Column:
        """What each box lacks of the variant that it would run, and where that comes from; of one or more."""
        return self.layers.column(variants, self.suited(variants) if len(variants) > 1 else None)

    def missing_of(self, variants: tuple[Variant, ...]) -> Floats:
        """Bytes that each box lacks of the variant that it would run; shape (rows,), not to be changed.

        What stands there for a box that can run none means nothing.
        """
        return self.column(variants).missing if variants else np.zeros(len(self.up))

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
            rows = self.filesets.rows((need.fileset, need.version))
        elif need.held_by:
            rows = self.rows_of(need.held_by)
        else:
            return np.flatnonzero(self.takes_files & (self.free[DISK] >= need.room_bytes))
        return rows[self.up[rows] & self.fixed[rows] & self.roles[Role.FILESTORE][rows]]

    def taken(self, column: int, more: float = 0.0) -> Floats:
        """The share of one amount that is reserved, with `more`; 1 where a box has none of it. Shape (rows,)."""
        share = np.ones(len(self.up))
        capacity = self.capacity[column]
        np.divide(self.reserved[column] + more, capacity, out=share, where=capacity > 0)
        return share

    def launch_s(self, image: str) -> Floats:
        """How long launching an image takes on boxes of each kind, as expected."""
        learnt = self.launches.get(image)
        return np.full(len(KINDS), LAUNCH_S) if learnt is None else learnt

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
            and min(room.tolist()) >= -SLACK
        )
        self.takes_files[row] = (
            self.up[row]
            and self.fixed[row]
            and self.roles[Role.FILESTORE][row]
            and not (self.cordoned[row] or self.central[row])
        )
        serving = bool(self.up[row] and self.offers[row] and not self.central[row])
        if serving != self.serving[row]:
            self.serving[row] = serving
            self.layers.ask_others()

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
        self.set_rate(row, 0.0)  # a row that was added behind says nothing yet
        return row

    def _grow(self, more: int) -> None:
        for attribute, values in list(vars(self).items()):
            if isinstance(values, np.ndarray):
                setattr(self, attribute, longer(values, more))
        self.roles = {role: longer(members, more) for role, members in self.roles.items()}
        self._runs.clear()
        self._suited.clear()
        self.network.grow(more)
        self.layers.resize(self.serving, self.doubted)

    def _code(self, architecture: str) -> int:
        if architecture not in self.architectures:
            self.architectures.append(architecture)
        return self.architectures.index(architecture)
