"""Many wake-ups, one run at a time: whoever comes while it runs waits for the next one, together with all others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Whoever waited for so long goes: the reconciler wakes again for what is left.
WAIT_S = 60.0


class Wakes:
    """A task that wakes carries nothing that the run would not find by itself, so many of them are one."""

    def __init__(self, run: Callable[[], object]) -> None:
        self._run = run
        self._turn = threading.Condition()
        self._begun = self._ended = 0
        self._busy = False

    def wake(self) -> None:
        """Return when a run that began after this call has ended. Raises what the run raises, to who began it."""
        end = time.monotonic() + WAIT_S
        with self._turn:
            wanted = self._begun + 1
            while self._busy and self._ended < wanted:
                if not self._turn.wait(end - time.monotonic()):
                    return
            if self._ended >= wanted:
                return
            self._busy, self._begun = True, wanted
        try:
            self._run()
        finally:
            with self._turn:
                self._busy, self._ended = False, wanted
                self._turn.notify_all()
