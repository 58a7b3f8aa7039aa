"""Server-sent events (WHATWG HTML, section 9.2): a page follows something that changes.

Redis says when to look; SQL says what there is. A message that got lost, or a Redis that is away, only
makes the page look a little later. A stream is a thread that sleeps: measured with 500 of them, that costs less
memory than a second kind of server would (docs/benchmarks.md).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flask import Response, current_app, stream_with_context

from common.errors import Unavailable
from common.logs import get_logger
from master.context import MasterContext
from master.web.bells import Bell, Bells

log = get_logger(__name__)

# After this the browser connects again: then it is asked anew who it is.
LIFETIME_S = 300.0
# How often a page looks by itself, if it would be told of changes, and if it would not.
LOOK_EVERY_S = 15.0
LOOK_ALONE_EVERY_S = 2.0
# A browser that went away is noticed by writing to it.
HEARTBEAT_S = 15.0
RETRY_MS = 1000
SLOTS = "openraas-streams"
BELLS = "openraas-bells"


@dataclass(frozen=True)
class View:
    """What the page should show now; `text` is made only when it is sent."""

    fingerprint: str
    text: Callable[[], str]
    over: bool


def make_slots(streams: int) -> threading.BoundedSemaphore:
    """So many streams at once; the threads for pages come on top of theirs."""
    return threading.BoundedSemaphore(streams)


def event_stream(master: MasterContext, channel: str, look: Callable[[], View]) -> Response:
    """An answer that sends the view whenever it changes, until it is over or its lifetime ends.

    `channel` is one of `common.names.events_channel`. Raises Unavailable when too many streams are open; the page
    then polls.
    """
    bells: Bells = current_app.extensions.setdefault(BELLS, Bells(master.redis))
    slots: threading.BoundedSemaphore = current_app.extensions[SLOTS]
    if not slots.acquire(blocking=False):
        raise Unavailable("Too many pages are being followed.", remedy="Reload the page.")
    response = Response(stream_with_context(_events(bells, channel, look)), mimetype="text/event-stream")
    # X-Accel-Buffering: an nginx in front must hand every event on at once.
    response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.call_on_close(slots.release)
    return response


def _events(bells: Bells, channel: str, look: Callable[[], View]) -> Iterator[str]:
    # Not all at once, even if all began at once.
    end = time.monotonic() + LIFETIME_S * random.uniform(0.8, 1.0)  # noqa: S311
    sent_at = time.monotonic()
    last = ""
    yield f"retry: {RETRY_MS}\n\n"
    with bells.listen(channel) as bell:
        while time.monotonic() < end:
            view = look()
            if view.fingerprint != last:
                last, sent_at = view.fingerprint, time.monotonic()
                yield _event("change", view.text())
            if view.over:
                yield _event("over", "")
                return
            if time.monotonic() - sent_at >= HEARTBEAT_S:
                sent_at = time.monotonic()
                yield ": still here\n\n"
            _wait(bell, sent_at)


def _wait(bell: Bell, sent_at: float) -> None:
    look_every_s = LOOK_EVERY_S if bell.is_heard else LOOK_ALONE_EVERY_S
    heartbeat_s = sent_at + HEARTBEAT_S - time.monotonic()
    bell.wait(max(0.0, min(look_every_s, heartbeat_s)))


def _event(name: str, text: str) -> str:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {name}\n{lines}\n"
