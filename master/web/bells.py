"""Tells many streams of one process that something changed, over one subscription to Redis.

A subscription for each open page would be a connection for each: five hundred pages are followed, and one
connection is listened to. Redis gives every event of every subject (`events:…`) to every process; they are few
(one for each step of each start), and what nobody follows is dropped here.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis
from redis.client import PubSub

from common.logs import get_logger
from common.names import events_channel

log = get_logger(__name__)

EVERY = events_channel("*")
# How long one read waits, and how long a reader that nobody needs any more stays.
READ_S = 5.0
# Before Redis is asked again that did not answer.
AGAIN_S = 2.0


class Bell:
    """Rings when something was published on its channel, and when nobody can tell whether something was."""

    def __init__(self, bells: Bells) -> None:
        self._bells = bells
        self._rung = threading.Event()

    @property
    def is_heard(self) -> bool:
        """Whether a change would ring it now; otherwise one has to look by oneself."""
        return self._bells.is_listening

    def ring(self) -> None:
        """Wake whoever waits."""
        self._rung.set()

    def wait(self, limit_s: float) -> None:
        """Until it rings, at most `limit_s`; several rings count as one."""
        self._rung.wait(limit_s)
        self._rung.clear()


class Bells:
    """One per process. The reading thread begins with the first who listens and ends some time after the last."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._listening: dict[str, set[Bell]] = defaultdict(set)
        self._reader: threading.Thread | None = None
        self.is_listening = False

    @contextmanager
    def listen(self, channel: str) -> Iterator[Bell]:
        """A bell for this channel, as long as it is needed."""
        bell = Bell(self)
        with self._lock:
            self._listening[channel].add(bell)
            if self._reader is None:
                self._reader = threading.Thread(target=self._read, name="bells", daemon=True)
                self._reader.start()
        try:
            yield bell
        finally:
            with self._lock:
                self._listening[channel].discard(bell)
                if not self._listening[channel]:
                    del self._listening[channel]

    def _read(self) -> None:
        while not self._is_over():
            try:
                pubsub = self._client.pubsub(ignore_subscribe_messages=False)  # type: ignore[no-untyped-call]
                self._listen_on(pubsub)
            except redis.RedisError as error:
                log.warning("events are not heard", error=str(error))
                self.is_listening = False
                self._ring_all()
                threading.Event().wait(AGAIN_S)

    def _listen_on(self, pubsub: PubSub) -> None:
        try:
            pubsub.psubscribe(EVERY)
            while not self._is_over():
                message = pubsub.get_message(timeout=READ_S)
                if message is None:
                    continue
                if message["type"] == "psubscribe":
                    # What was published before this was heard by nobody: everybody looks once.
                    self.is_listening = True
                    self._ring_all()
                elif message["type"] == "pmessage":
                    self._ring(str(message["channel"]))
        finally:
            self.is_listening = False
            with suppress(redis.RedisError):
                pubsub.close()

    def _is_over(self) -> bool:
        with self._lock:
            if self._listening:
                return False
            self._reader = None
            return True

    def _ring(self, channel: str) -> None:
        with self._lock:
            bells = list(self._listening.get(channel, ()))
        for bell in bells:
            bell.ring()

    def _ring_all(self) -> None:
        with self._lock:
            bells = [bell for some in self._listening.values() for bell in some]
        for bell in bells:
            bell.ring()
