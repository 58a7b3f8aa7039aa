"""Work under way on a box, in lanes: what is quick is never behind what is slow.

A job has a key. Submitting a key that runs already starts nothing: the running job is joined and runs once
more when it ends, so that a wake-up that came in the middle is never lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

from common.logs import get_logger

log = get_logger(__name__)


class Lane(StrEnum):
    """Which pool of threads a job runs in."""

    SHORT = "short"  # offer, export, mount, launch, stop
    LONG = "long"  # fetch, replicate
    PROBE = "probe"  # waiting for readiness


SIZES = {Lane.SHORT: 8, Lane.LONG: 4, Lane.PROBE: 8}


class Jobs:
    """Pools of threads, one per lane, with single flight by key."""

    def __init__(self, sizes: dict[Lane, int] | None = None) -> None:
        self._pools = {
            lane: ThreadPoolExecutor(size, thread_name_prefix=lane.value)
            for lane, size in (sizes or SIZES).items()
        }
        self._lock = threading.Lock()
        self._again: dict[Hashable, bool] = {}
        self._closed = False

    def submit(self, lane: Lane, key: Hashable, work: Callable[[], None]) -> bool:
        """Run `work` under `key`; returns False if it joined a job that runs already."""
        with self._lock:
            if self._closed:
                return False
            if key in self._again:
                self._again[key] = True
                return False
            self._again[key] = False
            self._pools[lane].submit(self._run, lane, key, work)
        return True

    def is_running(self, key: Hashable) -> bool:
        """Whether a job of this key is waiting or under way."""
        with self._lock:
            return key in self._again

    def _run(self, lane: Lane, key: Hashable, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            # The wish list is read again in a moment and the job with it; here it only must not die unseen.
            log.exception("job failed", lane=lane.value, job=str(key))
        with self._lock:
            if self._again[key] and not self._closed:
                self._again[key] = False
                self._pools[lane].submit(self._run, lane, key, work)
            else:
                del self._again[key]

    def close(self) -> None:
        """Take no more jobs; those under way go on until they end."""
        with self._lock:
            self._closed = True
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
