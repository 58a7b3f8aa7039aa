"""Where the boxes are, how far it is to them, and what is known of the roads between two of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from master.scheduling.holders import Indices
from master.scheduling.layers import Floats
from master.scheduling.request import Place

# Columns of distances from filestores that are remembered.
NEAREST_KEPT = 256


class Network:
    """Distances are round trips in milliseconds: plane distance plus both heights (Vivaldi).

    `backbone_ms` (areas, areas), if any, is what lies between two areas more.
    """

    def __init__(self, rows: int, backbone_ms: Floats | None = None) -> None:
        self.backbone_ms = backbone_ms
        self.places = np.zeros((3, rows))  # x, y, height in milliseconds
        self.area = np.zeros(rows, dtype=np.intp)
        self.pairs: dict[int, dict[int, float]] = {}  # row → source → seconds per byte, where that is known
        self._nearest: dict[bytes, Floats] = {}

    def put(self, row: int, place: Place) -> None:
        """A box is there now."""
        if place == self.place_of(row):
            return
        self.places[:, row] = place[:3]
        self.area[row] = place.area
        self._nearest.clear()

    def grow(self, more: int) -> None:
        """The fleet has so many rows more."""
        self.places = longer(self.places, more)
        self.area = longer(self.area, more)
        self._nearest.clear()

    def set_pair(self, row: int, source: int, rate_bps: float) -> None:
        """What a box is expected to get from a source."""
        self.pairs.setdefault(row, {})[source] = 8.0 / max(1.0, rate_bps)

    def forget_pairs(self, row: int) -> None:
        """A box is gone for good."""
        self.pairs.pop(row, None)

    def pair_s_per_byte(self, row: int, sources: Indices, s_per_byte: Floats) -> Floats:
        """What a byte from each of these takes to a box, as expected; shape (sources,).

        `s_per_byte` is each box's own link. Of a pair that never met the slower of both links is expected.
        """
        pace: Floats = np.maximum(s_per_byte[sources], s_per_byte[row])
        if known := self.pairs.get(row):
            for number, source in enumerate(sources.tolist()):
                pace[number] = known.get(source, pace[number])
        return pace

    def place_of(self, row: int) -> Place:
        """Where a box is."""
        x_ms, y_ms, height_ms = self.places[:, row].tolist()
        return Place(x_ms, y_ms, height_ms, int(self.area[row]))

    def distances_ms(self, places: Floats) -> Floats:
        """From n places (n, 4: x, y, height, area) to all boxes, shape (n, rows)."""
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
        """From one place to all boxes, or to those of `rows`."""
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

    def apart_ms(self, place: Place, row: int) -> float:
        """From one place to one box."""
        box = self.place_of(row)
        distance = math.hypot(box.x_ms - place.x_ms, box.y_ms - place.y_ms) + box.height_ms + place.height_ms
        between = 0.0 if self.backbone_ms is None else float(self.backbone_ms[place.area, box.area])
        return distance + between

    def from_nearest(self, rows: Indices) -> Floats:
        """From the nearest of a few boxes to all boxes, shape (rows,), nothing to itself; not to be changed."""
        key = rows.tobytes()
        nearest = self._nearest.get(key)
        if nearest is None:
            nearest = self.distance_ms(self.place_of(int(rows[0])))
            for row in rows[1:]:
                np.minimum(nearest, self.distance_ms(self.place_of(int(row))), out=nearest)
            nearest[rows] = 0.0  # what lies on the box itself crosses no access link
            self._nearest[key] = nearest
            if len(self._nearest) > NEAREST_KEPT:
                del self._nearest[next(iter(self._nearest))]
        return nearest


def longer(values: NDArray[Any], more: int) -> NDArray[Any]:
    """The same with `more` rows behind, all zero."""
    shape = (*values.shape[:-1], more)
    return np.concatenate([values, np.zeros(shape, dtype=values.dtype)], axis=-1)
