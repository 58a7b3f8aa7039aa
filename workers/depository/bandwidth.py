"""A limit on what a box's owner lends of the line, for all transfers of a process together."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable

from workers.box.config import BoxConfig
from workers.box.table import Table

# So much may go at once after a pause; less would cost a wake-up for every few packets.
BURST_S = 0.1


class Bandwidth:
    """A token bucket in bytes; without a rate it never waits."""

    def __init__(
        self,
        rate_bps: int | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.is_limited = rate_bps is not None
        self._rate = (rate_bps or 0) / 8
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        # When all that was taken so far has been paid for.
        self._paid_at = clock()

    def take(self, size_bytes: int) -> None:
        """Wait until so much may be sent or taken in."""
        if not self.is_limited:
            return
        with self._lock:
            now = self._clock()
            begins = max(self._paid_at, now - BURST_S)
            self._paid_at = begins + size_bytes / self._rate
            pause_s = self._paid_at - now
        if pause_s > 0:
            self._sleep(pause_s)


_outgoing: weakref.WeakKeyDictionary[Table, Bandwidth] = weakref.WeakKeyDictionary()
_outgoing_lock = threading.Lock()


def outgoing(config: BoxConfig, table: Table) -> Bandwidth:
    """The one limit of what the box that `table` belongs to gives others."""
    with _outgoing_lock:
        return _outgoing.setdefault(table, Bandwidth(config.layers_out_bps))
