"""Simulated time: what is to happen, in order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    """Events in order of time; those of one instant in the order in which they were announced."""

    __slots__ = ("_announced", "_events", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._announced = 0
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []

    def at(self, moment: float, what: Callable[..., object], *arguments: Any) -> None:
        """Let something happen at a moment, not before now."""
        self._announced += 1
        heapq.heappush(self._events, (max(moment, self.now), self._announced, what, arguments))

    def run_out(self) -> None:
        """Let everything happen that was announced, and what comes of it."""
        events = self._events
        while events:
            self.now, _, what, arguments = heapq.heappop(events)
            what(*arguments)

    def run_until(self, end: float) -> None:
        """Let everything happen that comes before `end`; then it is `end`."""
        events = self._events
        while events and events[0][0] < end:
            self.now, _, what, arguments = heapq.heappop(events)
            what(*arguments)
        self.now = end
