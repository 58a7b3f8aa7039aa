"""Which boxes hold which layers, and what each box lacks of an image: kept up as layers come and go.

A column (bytes that each box lacks of what it would run) is made when an image is first asked about and then changed
with every layer that a box gains or loses. Columns are kept within `COLUMN_BYTES`; the one longest unused goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from master.scheduling.holders import NOBODY, Holders, Indices
from master.scheduling.request import Layer, Variant

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

# A transfer asks at most so many boxes for one layer.
MOST_SOURCES = 16
_EVENLY = np.arange(MOST_SOURCES, dtype=np.intp)
COLUMN_BYTES = 512 * 2**20


class _Blob:
    """A layer: its holders, the boxes that are asked for it, and the columns that count it."""

    __slots__ = ("counts", "holders", "names", "seen", "sources", "turn")

    def __init__(self) -> None:
        self.holders = Holders()
        self.counts: list[tuple[Column, int, int]] = []  # column, number of the variant, bytes
        self.sources: Indices = NOBODY
        self.names: tuple[str, ...] | None = ()  # of the sources; none: not made yet
        self.seen = (-1, -1)  # the holders and the serving boxes that `sources` was chosen from
        self.turn = 0  # grows when `sources` is chosen anew


class Image:
    """The layers of one variant, and where they come from."""

    __slots__ = ("absent", "blobs", "offsets", "shares", "size_bytes", "sizes", "sources", "turns")

    def __init__(self, variant: Variant, blobs: dict[str, _Blob]) -> None:
        self.sizes: dict[str, int] = {}  # a layer that is there twice counts twice
        for layer in variant.layers:
            self.sizes[layer.digest] = self.sizes.get(layer.digest, 0) + layer.size_bytes
        self.size_bytes = sum(self.sizes.values())
        self.blobs = [blobs.setdefault(digest, _Blob()) for digest in self.sizes]
        self.turns = -1
        self.absent: tuple[Layer, ...] = ()  # what nobody serves
        self.sources: Indices = NOBODY
        self.offsets: Indices = NOBODY  # where in `sources` the next layer that is served begins
        self.shares: Floats = np.zeros(0)  # of the image's bytes, for these layers

    def missing(self, rows: int) -> Floats:
        """What each of so many boxes lacks."""
        missing = np.full(rows, float(self.size_bytes))
        for blob, size in zip(self.blobs, self.sizes.values(), strict=True):
            missing[blob.holders.rows] -= size
        return missing

    def fetch_from(self, parts: list[Indices]) -> None:
        """These are the sources of each layer now."""
        served = [rows for rows in parts if len(rows)]
        self.sources = np.concatenate(served) if served else NOBODY
        self.offsets = np.cumsum([0, *map(len, served[:-1])], dtype=np.intp)
        known = list(zip(self.sizes.items(), parts, strict=True))
        self.shares = np.array([size for (_, size), rows in known if len(rows)]) / max(1, self.size_bytes)
        self.absent = tuple(Layer(digest, size) for (digest, size), rows in known if not len(rows))


class Column:
    """What each box lacks of the variant that it would run (`suited`; none where there is only one)."""

    __slots__ = ("images", "missing", "seen", "suited", "variants")

    def __init__(
        self, variants: tuple[Variant, ...], images: list[Image], suited: Indices | None, rows: int
    ) -> None:
        self.variants = variants
        self.images = images
        self.suited = suited
        self.missing = images[0].missing(rows) if len(images) == 1 else np.zeros(rows)
        self.seen = -1
        if suited is not None:
            for number, image in enumerate(images):
                np.copyto(self.missing, image.missing(rows), where=suited == number)
        for number, image in enumerate(images):
            for blob, size in zip(image.blobs, image.sizes.values(), strict=True):
                blob.counts.append((self, number, size))

    def count(self, row: int, number: int, size: int) -> None:
        """A box lacks so many bytes more of a variant."""
        if self.suited is None or self.suited[row] == number:
            self.missing[row] += size


class LayerBook:
    """The layers of a fleet. The fleet keeps which rows give layers to others now (`serving`).

    It also keeps which of them are `doubted`: those are asked only where there is nobody else.
    """

    def __init__(self, serving: Bools, doubted: Bools) -> None:
        self._serving = serving
        self._doubted = doubted
        self._serving_version = 0
        self._version = 0  # grows with every change of who holds or serves what
        self._blobs: dict[str, _Blob] = {}
        self._held: list[set[str]] = [set() for _ in range(len(serving))]
        self._columns: OrderedDict[tuple[str, ...], Column] = OrderedDict()

    def resize(self, serving: Bools, doubted: Bools) -> None:
        """The fleet has more rows now; columns are made anew."""
        self._held += [set() for _ in range(len(serving) - len(self._held))]
        self.forget_columns()
        self._serving, self._doubted = serving, doubted
        self.ask_others()

    def forget_columns(self) -> None:
        """Columns are made anew: what a box would run has changed."""
        while self._columns:
            self._drop(next(iter(self._columns)))

    def ask_others(self) -> None:
        """Other boxes serve, or are doubted, from now on."""
        self._serving_version += 1
        self._version += 1

    def held(self, row: int) -> set[str]:
        """What a box holds; nobody may change it."""
        return self._held[row]

    def gain(self, row: int, digest: str) -> None:
        """A box holds one layer more."""
        if digest in self._held[row]:
            return
        blob = self._blobs.get(digest)
        if blob is None:
            blob = self._blobs[digest] = _Blob()
        fresh = blob.seen == (blob.holders.version, self._serving_version)
        blob.holders.add(row)
        if fresh and len(blob.sources) >= MOST_SOURCES:  # one more makes no difference
            blob.seen = (blob.holders.version, self._serving_version)
        else:
            self._version += 1
        self._held[row].add(digest)
        for column, number, size in blob.counts:
            column.count(row, number, -size)

    def lose(self, row: int, digest: str) -> None:
        """A box holds a layer no more."""
        blob = self._blobs.get(digest)
        if blob is None or not blob.holders.discard(row):
            return
        self._version += 1
        self._held[row].discard(digest)
        for column, number, size in blob.counts:
            column.count(row, number, size)
        if not len(blob.holders) and not blob.counts:
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

    def source_names(self, layers: Iterable[Layer], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The same by name, for each of these layers."""
        found: dict[str, tuple[str, ...]] = {}
        for layer in layers:
            blob = self._blobs.get(layer.digest)
            if blob is None:
                found[layer.digest] = ()
                continue
            rows = self._sources(blob)
            if blob.names is None:
                blob.names = tuple([names[row] for row in rows])
            found[layer.digest] = blob.names
        return found

    def column(self, variants: tuple[Variant, ...], suited: Indices | None) -> Column:
        """The column of an image in these variants; who serves their layers is up to date."""
        key = (variants[0].image,) if len(variants) == 1 else tuple([one.image for one in variants])
        column = self._columns.get(key)
        if column is None or (column.variants is not variants and column.variants != variants):
            column = self._make(key, variants, suited)
        else:
            self._columns.move_to_end(key)
        if column.seen != self._version:
            for image in column.images:
                self._refresh(image)
            column.seen = self._version
        return column

    def _make(self, key: tuple[str, ...], variants: tuple[Variant, ...], suited: Indices | None) -> Column:
        if key in self._columns:
            self._drop(key)
        images = [Image(variant, self._blobs) for variant in variants]
        column = self._columns[key] = Column(variants, images, suited, len(self._serving))
        while len(self._columns) > 1 and len(self._columns) * column.missing.nbytes > COLUMN_BYTES:
            self._drop(next(iter(self._columns)))
        return column

    def _drop(self, key: tuple[str, ...]) -> None:
        column = self._columns.pop(key)
        for image in column.images:
            for digest, blob in zip(image.sizes, image.blobs, strict=True):
                blob.counts = [item for item in blob.counts if item[0] is not column]
                if not len(blob.holders) and not blob.counts:
                    self._blobs.pop(digest, None)

    def _refresh(self, image: Image) -> None:
        parts = [self._sources(blob) for blob in image.blobs]
        turns = sum([blob.turn for blob in image.blobs])
        if turns != image.turns:
            image.turns = turns
            image.fetch_from(parts)

    def _sources(self, blob: _Blob) -> Indices:
        now = (blob.holders.version, self._serving_version)
        if blob.seen != now:
            rows = blob.holders.rows
            rows = rows[self._serving[rows]]
            trusted = rows[~self._doubted[rows]]
            rows = trusted if len(trusted) else rows
            if len(rows) > MOST_SOURCES:
                rows = rows[_EVENLY * len(rows) // MOST_SOURCES]
            blob.sources, blob.names, blob.seen = rows, None, now
            blob.turn += 1
        return blob.sources
