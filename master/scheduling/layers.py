"""Which boxes hold which layers, and what each box lacks of an image: kept up as layers come and go.

A column (bytes that each box lacks of one image) is made when an image is first asked about and then changed with
every layer that a box gains or loses. Columns are kept within `COLUMN_BYTES`; the one longest unused goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from master.scheduling.holders import NOBODY, Holders, Indices
from master.scheduling.request import Layer, Variant

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

# A transfer asks at most so many boxes for one layer.
MOST_SOURCES = 16
COLUMN_BYTES = 512 * 2**20


class _Blob:
    """A layer: its holders, the boxes that are asked for it, and the columns that count it."""

    __slots__ = ("columns", "holders", "seen", "sources", "turn")

    def __init__(self) -> None:
        self.holders = Holders()
        self.columns: list[tuple[Floats, int]] = []
        self.sources: Indices = NOBODY
        self.seen = (-1, -1)  # the holders and the serving boxes that `sources` was chosen from
        self.turn = 0  # grows when `sources` is chosen anew


class ImageColumn:
    """What the boxes lack of one image, and where its layers come from."""

    __slots__ = (
        "absent",
        "blobs",
        "layers",
        "missing",
        "offsets",
        "shares",
        "size_bytes",
        "sizes",
        "sources",
        "turns",
    )

    def __init__(
        self, layers: tuple[Layer, ...], blobs: list[_Blob], sizes: dict[str, int], rows: int
    ) -> None:
        self.layers = layers
        self.blobs = blobs
        self.sizes = sizes  # a layer that is there twice counts twice
        self.size_bytes = sum(sizes.values())
        self.missing = np.full(rows, float(self.size_bytes))
        for blob, size in zip(blobs, sizes.values(), strict=True):
            self.missing[blob.holders.rows] -= size
            blob.columns.append((self.missing, size))
        self.turns = -1
        self.absent: tuple[Layer, ...] = ()  # what nobody serves
        self.sources: Indices = NOBODY
        self.offsets: Indices = NOBODY  # where in `sources` the next layer that is served begins
        self.shares: Floats = np.zeros(0)  # of the image's bytes, for these layers


class LayerBook:
    """The layers of a fleet. `serving` says which rows give layers to others now; the fleet keeps it."""

    def __init__(self, serving: Bools) -> None:
        self._serving = serving
        self._serving_version = 0
        self._blobs: dict[str, _Blob] = {}
        self._held: list[set[str]] = [set() for _ in range(len(serving))]
        self._columns: OrderedDict[str, ImageColumn] = OrderedDict()

    def resize(self, serving: Bools) -> None:
        """The fleet has more rows now; columns are made anew."""
        self._held += [set() for _ in range(len(serving) - len(self._held))]
        while self._columns:
            self._drop(next(iter(self._columns)))
        self.served_by(serving)

    def served_by(self, serving: Bools) -> None:
        """Other boxes give layers from now on."""
        self._serving = serving
        self._serving_version += 1

    def held(self, row: int) -> set[str]:
        """What a box holds; nobody may change it."""
        return self._held[row]

    def gain(self, row: int, digest: str) -> None:
        """A box holds one layer more."""
        blob = self._blob(digest)
        fresh = blob.seen == (blob.holders.version, self._serving_version)
        if not blob.holders.add(row):
            return
        if fresh and len(blob.sources) >= MOST_SOURCES:  # one more makes no difference
            blob.seen = (blob.holders.version, self._serving_version)
        self._held[row].add(digest)
        for missing, size in blob.columns:
            missing[row] -= size

    def lose(self, row: int, digest: str) -> None:
        """A box holds a layer no more."""
        blob = self._blobs.get(digest)
        if blob is None or not blob.holders.discard(row):
            return
        self._held[row].discard(digest)
        for missing, size in blob.columns:
            missing[row] += size
        if not len(blob.holders) and not blob.columns:
            del self._blobs[digest]

    def replace(self, row: int, digests: Iterable[str]) -> None:
        """A box holds exactly these."""
        now = set(digests)
        for digest in self._held[row] - now:
            self.lose(row, digest)
        for digest in now - self._held[row]:
            self.gain(row, digest)

    def holders(self, digest: str) -> Indices:
        """All rows that hold a layer, ascending, whether they serve it or not."""
        blob = self._blobs.get(digest)
        return NOBODY if blob is None else blob.holders.rows

    def sources(self, digest: str) -> Indices:
        """The rows that are asked for a layer: those that hold and serve it, evenly chosen if they are many."""
        blob = self._blobs.get(digest)
        return NOBODY if blob is None else self._sources(blob)

    def column(self, variant: Variant) -> ImageColumn:
        """The image's column; its `sources` and `offsets` are up to date."""
        column = self._columns.get(variant.image)
        if column is None or (column.layers is not variant.layers and column.layers != variant.layers):
            column = self._make(variant)
        else:
            self._columns.move_to_end(variant.image)
        self._refresh(column)
        return column

    def _make(self, variant: Variant) -> ImageColumn:
        if variant.image in self._columns:
            self._drop(variant.image)
        sizes: dict[str, int] = {}
        for layer in variant.layers:
            sizes[layer.digest] = sizes.get(layer.digest, 0) + layer.size_bytes
        blobs = [self._blob(digest) for digest in sizes]
        column = ImageColumn(variant.layers, blobs, sizes, len(self._serving))
        self._columns[variant.image] = column
        while len(self._columns) > 1 and len(self._columns) * column.missing.nbytes > COLUMN_BYTES:
            self._drop(next(iter(self._columns)))
        return column

    def _drop(self, image: str) -> None:
        column = self._columns.pop(image)
        for digest, blob in zip(column.sizes, column.blobs, strict=True):
            blob.columns = [item for item in blob.columns if item[0] is not column.missing]
            if not len(blob.holders) and not blob.columns:
                del self._blobs[digest]

    def _refresh(self, column: ImageColumn) -> None:
        parts = [self._sources(blob) for blob in column.blobs]
        turns = sum([blob.turn for blob in column.blobs])
        if turns == column.turns:
            return
        column.turns = turns
        column.absent = tuple(
            Layer(digest, size)
            for (digest, size), rows in zip(column.sizes.items(), parts, strict=True)
            if not len(rows)
        )
        served = [rows for rows in parts if len(rows)]
        column.sources = np.concatenate(served) if served else NOBODY
        column.offsets = np.cumsum([0, *map(len, served[:-1])], dtype=np.intp)
        sizes = [size for size, rows in zip(column.sizes.values(), parts, strict=True) if len(rows)]
        column.shares = np.array(sizes) / max(1, column.size_bytes)

    def _blob(self, digest: str) -> _Blob:
        blob = self._blobs.get(digest)
        if blob is None:
            blob = self._blobs[digest] = _Blob()
        return blob

    def _sources(self, blob: _Blob) -> Indices:
        now = (blob.holders.version, self._serving_version)
        if blob.seen != now:
            rows = blob.holders.rows
            rows = rows[self._serving[rows]]
            if len(rows) > MOST_SOURCES:
                rows = rows[np.linspace(0, len(rows) - 1, MOST_SOURCES).astype(np.intp)]
            blob.sources, blob.seen = rows, now
            blob.turn += 1
        return blob.sources
