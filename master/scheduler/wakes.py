"""Many wake-ups, one run at a time: whoever comes while it runs only asks for another."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Wakes:
    """A task that wakes carries nothing that the run would not find by itself, so many of them are one."""

    def __init__(self, run: Callable[[], object]) -> None:
        self._run = run
        self._busy = threading.Lock()
        self._asked = threading.Event()

    def wake(self) -> None:
        """See that a run begins after this call; returns at once if another thread will do it."""
        self._asked.set()
        while self._asked.is_set():
            if not self._busy.acquire(blocking=False):
                return  # whoever is at it looks for the mark after letting go
            try:
                # Before the run: who comes from here on may have missed it.
                self._asked.clear()
                self._run()
            finally:
                self._busy.release()
