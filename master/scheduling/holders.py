"""Who holds what: sorted rows per key, changed one row at a time."""

from __future__ import annotations

from array import array
from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]
NOBODY: Indices = np.zeros(0, dtype=np.intp)


class Holders:
    """The rows that hold one thing, ascending. `version` grows with every change."""

    __slots__ = ("_packed", "_rows", "version")

    def __init__(self) -> None:
        self._rows = array("q")
        self._packed: Indices | None = NOBODY
        self.version = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, row: int) -> bool:
        at = bisect_left(self._rows, row)
        return at < len(self._rows) and self._rows[at] == row

    def add(self, row: int) -> bool:
        """Whether it is new."""
        at = bisect_left(self._rows, row)
        if at < len(self._rows) and self._rows[at] == row:
            return False
        self._rows.insert(at, row)
        self._changed()
        return True

    def discard(self, row: int) -> bool:
        """Whether it was there."""
        at = bisect_left(self._rows, row)
        if at == len(self._rows) or self._rows[at] != row:
            return False
        self._rows.pop(at)
        self._changed()
        return True

    @property
    def rows(self) -> Indices:
        """As an array, which nobody may change."""
        if self._packed is None:
            self._packed = np.array(self._rows, dtype=np.intp)
        return self._packed

    def _changed(self) -> None:
        self._packed = None
        self.version += 1
