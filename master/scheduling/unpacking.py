"""Which engines have which images unpacked, and what it takes the others after the last byte.

An engine unpacks while layers come, so after a fetch less is left to do than where all layers lie on the box already.
Both paces are learnt from starts; a box that lacks a part of the bytes lies in between.
"""

from __future__ import annotations

import numpy as np

from master.scheduling.holders import NOBODY, Indices
from master.scheduling.layers import Floats


class Unpacking:
    """Kept by a fleet. As long as no pace is known, unpacking is not counted at all."""

    def __init__(self) -> None:
        self._there = self._fetched = 0.0
        self._rows: dict[str, Indices] = {}

    @property
    def is_known(self) -> bool:
        """Whether any pace is."""
        return self._there > 0 or self._fetched > 0

    def set_pace(self, there: float, fetched: float) -> None:
        """Seconds per byte of an image (as it is sent), where all of it is there and where all of it is fetched."""
        self._there, self._fetched = there, fetched

    def note(self, image: str, row: int) -> None:
        """The engine of a box has it."""
        rows = self._rows.get(image, NOBODY)
        if row not in rows:
            self._rows[image] = np.append(rows, np.intp(row))

    def forget(self) -> None:
        """Nothing is known of any engine any more."""
        self._rows.clear()

    def seconds(self, image: str, size_bytes: int, missing: Floats) -> Floats:
        """For each box, of which `missing` says how many bytes it lacks."""
        found: Floats = missing * (self._fetched - self._there)
        found += size_bytes * self._there
        found[self._rows.get(image, NOBODY)] = 0.0
        return found

    def of(self, image: str, size_bytes: int, missing: float, row: int) -> float:
        """The same for one box."""
        if row in self._rows.get(image, NOBODY):
            return 0.0
        return size_bytes * self._there + missing * (self._fetched - self._there)
