"""Who holds what: sorted rows per key, changed one row at a time."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Hashable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]
Key = TypeVar("Key", bound=Hashable)
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


class Register(Generic[Key]):
    """Which rows hold which things, and which things each row holds."""

    def __init__(self) -> None:
        self._holders: dict[Key, Holders] = {}
        self._held: dict[int, frozenset[Key]] = {}

    def rows(self, key: Key) -> Indices:
        """The rows that hold it, ascending."""
        found = self._holders.get(key)
        return NOBODY if found is None else found.rows

    def of(self, row: int) -> frozenset[Key]:
        """What a row holds."""
        return self._held.get(row, frozenset())

    def replace(self, row: int, now: frozenset[Key]) -> None:
        """A row holds exactly these."""
        before = self.of(row)
        for key in before - now:
            self._holders[key].discard(row)
            if not len(self._holders[key]):
                del self._holders[key]
        for key in now - before:
            self._holders.setdefault(key, Holders()).add(row)
        if now:
            self._held[row] = now
        else:
            self._held.pop(row, None)
