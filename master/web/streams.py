"""Server-sent events (WHATWG HTML, section 9.2): a page follows something that changes.

Redis says when to look; SQL says what there is. A message that got lost, or a Redis that is away, only
makes the page look a little later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import redis
from flask import Response, current_app, stream_with_context
from redis.client import PubSub

from common.errors import Unavailable
from common.logs import get_logger
from master.context import MasterContext

log = get_logger(__name__)

LIFETIME_S = 120.0
LOOK_EVERY_S = 2.0
HEARTBEAT_S = 10.0
RETRY_MS = 1000
SLOTS = "openraas-streams"


@dataclass(frozen=True)
class View:
    """What the page should show now."""

    fingerprint: str
    text: str
    over: bool


def make_slots(threads: int) -> threading.BoundedSemaphore:
    """Streams may hold half of the threads, so that pages are always answered."""
    return threading.BoundedSemaphore(max(1, threads // 2))


def event_stream(master: MasterContext, channel: str, look: Callable[[], View]) -> Response:
    """An answer that sends the view whenever it changes, until it is over or its lifetime ends.

    Raises Unavailable when too many streams are open; the page then polls.
    """
    slots: threading.BoundedSemaphore = current_app.extensions[SLOTS]
    if not slots.acquire(blocking=False):
        raise Unavailable("Too many pages are being followed.", remedy="Reload the page.")
    response = Response(stream_with_context(_events(master, channel, look)), mimetype="text/event-stream")
    # X-Accel-Buffering: an nginx in front must hand every event on at once.
    response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.call_on_close(slots.release)
    return response


def _events(master: MasterContext, channel: str, look: Callable[[], View]) -> Iterator[str]:
    end = time.monotonic() + LIFETIME_S
    sent_at = time.monotonic()
    last = ""
    yield f"retry: {RETRY_MS}\n\n"
    with _Bell(master.redis, channel) as bell:
        while time.monotonic() < end:
            view = look()
            if view.fingerprint != last:
                last, sent_at = view.fingerprint, time.monotonic()
                yield _event("change", view.text)
            if view.over:
                yield _event("over", "")
                return
            if time.monotonic() - sent_at > HEARTBEAT_S:
                sent_at = time.monotonic()
                yield ": still here\n\n"
            bell.wait(LOOK_EVERY_S)


def _event(name: str, text: str) -> str:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {name}\n{lines}\n"


class _Bell:
    """Rings when something is published on a channel."""

    def __init__(self, client: redis.Redis, channel: str) -> None:
        self._client = client
        self._channel = channel
        self._pubsub: PubSub | None = None

    def __enter__(self) -> _Bell:
        self._subscribe()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _subscribe(self) -> None:
        pubsub = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        try:
            pubsub.subscribe(self._channel)
        except redis.RedisError as error:
            log.warning("cannot subscribe", channel=self._channel, error=str(error))
            return
        self._pubsub = pubsub

    def _close(self) -> None:
        if self._pubsub is not None:
            self._pubsub.close()
            self._pubsub = None

    def wait(self, limit_s: float) -> None:
        """Until a message comes, at most `limit_s`; several at once count as one."""
        if self._pubsub is None:
            threading.Event().wait(limit_s)
            self._subscribe()
            return
        try:
            end = time.monotonic() + limit_s
            # None also stands for the confirmation of the subscription: look at the clock.
            while (left := end - time.monotonic()) > 0:
                if self._pubsub.get_message(timeout=left) is not None:
                    break
            while self._pubsub.get_message(timeout=0.0) is not None:
                pass
        except redis.RedisError as error:
            log.warning("lost the subscription", channel=self._channel, error=str(error))
            self._close()
