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
        self.there_s = 0.0  # per byte of an image (as it is sent) that lies on the box
        self.fetched_s = 0.0  # and per byte that is fetched
        self._rows: dict[str, Indices] = {}

    @property
    def is_known(self) -> bool:
        """Whether any pace is."""
        return self.there_s > 0 or self.fetched_s > 0

    def set_pace(self, there_s: float, fetched_s: float) -> None:
        """Seconds per byte of an image (as it is sent), where all of it is there and where all of it is fetched."""
        self.there_s, self.fetched_s = there_s, fetched_s

    def note(self, image: str, row: int) -> None:
        """The engine of a box has it."""
        rows = self.rows(image)
        if row not in rows:
            self._rows[image] = np.append(rows, np.intp(row))

    def forget(self) -> None:
        """Nothing is known of any engine any more."""
        self._rows.clear()

    def rows(self, image: str) -> Indices:
        """The boxes whose engines have it."""
        return self._rows.get(image, NOBODY)

    def of(self, image: str, size_bytes: int, missing: float, row: int) -> float:
        """Seconds on one box, which lacks so many bytes."""
        if row in self.rows(image):
            return 0.0
        return size_bytes * self.there_s + missing * (self.fetched_s - self.there_s)

    def seconds(self, size_bytes: int, missing: Floats) -> Floats:
        """Seconds on boxes whose engines lack the image, and which lack so many of its bytes."""
        found: Floats = missing * (self.fetched_s - self.there_s)
        found += size_bytes * self.there_s
        return found
