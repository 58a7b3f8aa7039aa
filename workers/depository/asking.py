"""One connection to one source, and the thread that asks it for range after range until nothing is left to ask."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING

from workers.depository.errors import (
    Abandoned,
    SourceError,
    SourceLacks,
    SourceRefused,
    SourceSilent,
)
from workers.depository.partial import Partial
from workers.depository.plan import choose
from workers.depository.pull import Job, Pull, SourceState
from workers.depository.source import Line

if TYPE_CHECKING:
    from workers.depository.swarm import Swarm

# A connection that breaks so often without giving a range in between is given up.
MOST_FAILURES = 2
# Threads stay for a moment when nothing is left to ask: the engine asks for the layers after the manifest.
LINGER_S = 2.0
# How often a box that is fetching too is asked what it has by now.
NEWS_EVERY_S = 0.5
# Where it says so, and gives ranges (`arriving.py`).
PEER_PATH = "/v2/_openraas/arriving"
_LOOK_AGAIN_S = 0.25


class Asking:
    """The work of one thread. Everything that it decides or notes down is guarded by the swarm's lock."""

    def __init__(self, swarm: Swarm, pull: Pull, state: SourceState, line: Line) -> None:
        self._swarm = swarm
        self._pull = pull
        self._state = state
        self._line = line
        self._buffer = bytearray()

    def run(self) -> None:
        """Ask until nothing is left; raises SourceError when the source is to be left."""
        failures = 0
        self._line.connect()
        if (round_trip_ms := self._line.round_trip_ms) is not None:
            self._swarm.on_connect(self._state.box, round_trip_ms)
        while (task := self._next()) is not None:
            try:
                self._fetch(*task)
            except (SourceSilent, SourceRefused):
                raise
            except SourceError:
                failures += 1
                if failures >= MOST_FAILURES:
                    raise
            else:
                failures = 0

    def _fetch(self, job: Job, chunk: int, partial: Partial) -> None:
        offset, length = job.ranges.span(chunk)
        if len(self._buffer) < length:
            self._buffer = bytearray(length)
        view = memoryview(self._buffer)[:length]
        since = time.monotonic()

        def wanted() -> bool:
            job.moved_at = time.monotonic()
            return (
                job.partial is partial
                and not job.is_over
                and not job.ranges.there[chunk]
                and not self._pull.cancelled.is_set()
            )

        path = f"/v2/{self._pull.repository}/blobs/{job.digest}"
        if self._state.giver.is_peer:
            path = f"{PEER_PATH}/{job.digest}"
        try:
            self._line.read(path, offset, view, job.blob.size_bytes, wanted)
        except Abandoned:
            self._swarm.give_back(job, chunk, self._state)
        except SourceLacks:
            self._swarm.lacks(self._pull, self._state, job, chunk)
        except SourceError:
            self._swarm.give_back(job, chunk, self._state)
            raise
        else:
            self._take(job, chunk, partial, view, time.monotonic() - since)

    def _take(self, job: Job, chunk: int, partial: Partial, view: memoryview, took_s: float) -> None:
        """A range came: check it, write it, and commit the blob if it was the last."""
        hashes = job.hashes
        if hashes is not None and hashlib.sha256(view).hexdigest() != hashes[chunk]:
            self._swarm.ban(self._pull, self._state.box, job, f"chunk {chunk} was bad")
            return
        partial.write(chunk, view)
        self._swarm.arrived(job, chunk, partial, self._state, len(view), took_s)

    def _next(self) -> tuple[Job, int, Partial] | None:
        """The next range to ask for; none when this thread shall end."""
        pull, state, swarm = self._pull, self._state, self._swarm
        idle_until = time.monotonic() + LINGER_S
        while True:
            self._hear_news()
            with swarm.lock:
                if not state.is_live or pull.cancelled.is_set():
                    return None
                now = time.monotonic()
                swarm.wake_rested(pull, now)
                pending = pull.pending
                others = [
                    other.giver for other in pull.sources.values() if other is not state and other.is_live
                ]
                found = choose(pending, state.giver, others, now, me=swarm.box, dice=swarm.dice)
                if found is not None:
                    job = pending[found[0]]
                    job.ranges.ask(found[1], state.box, now)
                    return job, found[1], job.receiving()
                if now > idle_until and not any(pull.can_give(state, job) for job in pending):
                    swarm.give_up_if_hopeless(pull)
                    return None
                swarm.lock.wait(_LOOK_AGAIN_S)

    def _news_are_due(self) -> bool:
        state = self._state
        return state.giver.is_peer and state.asked_at < time.monotonic() - NEWS_EVERY_S

    def _hear_news(self) -> None:
        """What a box that is fetching too has by now; one of its threads asks."""
        with self._swarm.lock:
            if not self._news_are_due():
                return
            self._state.asked_at = time.monotonic()
        try:
            told = json.loads(self._line.read_document(PEER_PATH))["chunks"]
            chunks = {
                str(digest): None if there is None else bytes.fromhex(there) for digest, there in told.items()
            }
        except SourceLacks:
            chunks = {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceRefused("it does not say what it has") from error
        with self._swarm.lock:
            self._state.learn(chunks, time.monotonic())
            self._swarm.lock.notify_all()
