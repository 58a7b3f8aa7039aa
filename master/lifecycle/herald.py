"""Tells the schedulers which boxes changed: compares what the boxes say with what they said before.

A box writes a status every few seconds, and nearly all of them say what the last one said. One lifecycle process
looks at them all and writes the names of those that changed, came or fell silent to the stream `fleet:changes`. The
boxes themselves write nothing there, so that none can speak for another or end the stream for all.
"""

from __future__ import annotations

import json
import threading
from hashlib import blake2b
from typing import Any

import redis

from common.logs import get_logger
from common.names import BOXES, WATCH_LOCK, status_key
from master.scheduler.changes import tell

log = get_logger(__name__)

# What every record has anew, and no placement looks at.
_PASSING = ("at", "sequence", "redis_epoch", "load", "temperature_c", "instances", "used")
# A lock that a process left behind holds the next one up for so many rounds.
LOCK_ROUNDS = 5


class Herald:
    """One per lifecycle process; of several only one is at work."""

    def __init__(self, client: redis.Redis, *, every_s: float) -> None:
        self._redis = client
        self._every_s = every_s
        held_s = max(1.0, LOCK_ROUNDS * every_s)
        # Made in one thread and held in another.
        self._lock = client.lock(WATCH_LOCK, timeout=held_s, blocking=False, thread_local=False)
        self._said: dict[str, tuple[str, bytes]] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="herald", daemon=True)

    def start(self) -> None:
        """Look now and then every `every_s`, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; another process takes over."""
        self._stop.set()
        self._thread.join(self._every_s + 1.0)

    def _loop(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                if self._is_mine():
                    self.look()
                else:
                    self._said = None
            except redis.RedisError as error:
                log.warning("boxes not looked at", error=str(error))
            except Exception:
                # Without a herald the schedulers see changes only when they read the whole fleet.
                log.exception("boxes not looked at")
        try:
            if self._lock.owned():
                self._lock.release()
        except redis.RedisError as error:
            log.warning("the herald's lock was not released", error=str(error))

    def _is_mine(self) -> bool:
        if self._lock.owned():
            return bool(self._lock.reacquire())
        return bool(self._lock.acquire())

    def look(self) -> frozenset[str]:
        """Compare once, and tell which boxes changed. Raises redis.RedisError."""
        boxes = sorted(str(box) for box in self._redis.smembers(BOXES))
        texts = self._redis.mget([status_key(box) for box in boxes]) if boxes else []
        before = self._said or {}
        now: dict[str, tuple[str, bytes]] = {}
        for box, text in zip(boxes, texts, strict=True):
            if text is None:
                continue
            known = before.get(box)
            now[box] = known if known is not None and known[0] == text else (str(text), _gist(str(text)))
        changed = {box for box, said in now.items() if box not in before or before[box][1] != said[1]}
        changed |= before.keys() - now.keys()
        if changed:
            tell(self._redis, sorted(changed))
        self._said = now
        return frozenset(changed)


def _gist(text: str) -> bytes:
    """Differs when a record says something else than the one before it."""
    try:
        value = json.loads(text)
    except ValueError:
        return text.encode()[:64]
    if not isinstance(value, dict):
        return text.encode()[:64]
    for name in _PASSING:
        value.pop(name, None)
    if isinstance(place := value.get("coordinate"), dict):
        value["coordinate"] = {name: _whole(part) for name, part in place.items()}
    return blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).digest()


def _whole(part: Any) -> Any:
    """Coordinates wander by fractions of a millisecond all the time."""
    return round(part) if isinstance(part, float) else part
