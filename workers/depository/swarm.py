"""The threads that fetch: two connections to every depository of every image that is wanted now.

All depositories are asked at once. Each thread connects and only then takes the next range in layer order, so
the first to answer gets the first ranges, and a quick source ends up giving more than a slow one.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from common.logs import bind, get_logger
from common.oci.digest import BadDigest
from common.oci.store import ContentStore
from workers.depository.errors import (
    Abandoned,
    Cancelled,
    NoSource,
    SourceError,
    SourceLacks,
    SourceRefused,
    SourceSilent,
    TransferError,
)
from workers.depository.holdings import Holdings
from workers.depository.partial import Partial
from workers.depository.pull import Job, Pull, SourceState
from workers.depository.ranges import pick
from workers.depository.source import Line

log = get_logger(__name__)

LINES_PER_SOURCE = 2
# A connection that breaks so often without giving a range in between is given up.
MOST_FAILURES = 2
# Threads stay for a moment when nothing is left to ask: the engine asks for the layers after the manifest.
LINGER_S = 2.0
# Between the moment when the last source was left and the second try of all that did not lie.
SECOND_ROUND_S = 0.5
# A range counts as slow when it takes so many times as long as this thread's own ranges.
SLOW_FACTOR = 1.5
_FIRST_PACE_S = 0.3
_LOOK_AGAIN_S = 0.25


class Swarm:
    """Fetches the jobs of pulls. `lock` guards all of them and tells whenever something changed."""

    def __init__(self, holdings: Holdings, *, authority: Path, timeout_s: float) -> None:
        self._holdings = holdings
        self._store: ContentStore = holdings.store
        self._authority = authority
        self._timeout_s = timeout_s
        self.lock = threading.Condition()
        self.jobs: dict[str, Job] = {}
        self.pulls: dict[str, Pull] = {}
        self.on_end: Callable[[Pull], None] = lambda _: None

    def start(self, pull: Pull) -> None:
        """Let every depository of the pull work on what is pending; call it with the lock held."""
        if not pull.pending:
            return
        pull.ended_at = None
        pull.started_at = pull.started_at or time.monotonic()
        if not any(state.is_live for state in pull.sources.values()):
            self._revive(pull)
        self._hire(pull, 0.0)
        self._give_up_if_hopeless(pull)

    def _hire(self, pull: Pull, pause_s: float) -> None:
        useful = sum(job.ranges.count for job in pull.pending)
        for state in pull.sources.values():
            if not any(pull.can_give(state, job) for job in pull.pending):
                continue
            while state.threads < min(LINES_PER_SOURCE, max(1, useful)):
                state.threads += 1
                name = f"fetch-{state.box}-{state.threads}"
                thread = threading.Thread(
                    target=self._work, args=(pull, state, pause_s), name=name, daemon=True
                )
                thread.start()

    @staticmethod
    def _revive(pull: Pull) -> bool:
        gone = [state for state in pull.sources.values() if state.left is not None and not state.banned]
        for state in gone:
            state.left = None
        return bool(gone)

    def _work(self, pull: Pull, state: SourceState, pause_s: float) -> None:
        endpoint = pull.source.endpoints[state.box]
        line = Line(endpoint, pull.source.ticket, authority=self._authority, timeout_s=self._timeout_s)
        with self.lock:
            pull.lines.add(line)
        try:
            with bind(source=state.box, image=pull.source.name):
                if not pull.cancelled.wait(pause_s):
                    self._serve(pull, state, line)
        except Exception as error:
            log.exception("fetching failed", source=state.box)
            self._leave(pull, state, f"this box failed: {error}")
        finally:
            line.close()
            with self.lock:
                pull.lines.discard(line)
                state.threads -= 1
                # A job may have come between this thread's last look and its end.
                if state.is_live and not pull.cancelled.is_set() and pull.pending:
                    self._hire(pull, 0.0)
                self.lock.notify_all()

    def _serve(self, pull: Pull, state: SourceState, line: Line) -> None:
        pace_s, failures = _FIRST_PACE_S, 0
        buffer = bytearray()
        try:
            line.connect()
            while (task := self._next(pull, state, pace_s)) is not None:
                job, chunk, partial = task
                length = job.ranges.span(chunk)[1]
                if len(buffer) < length:
                    buffer = bytearray(length)
                view = memoryview(buffer)[:length]
                since = time.monotonic()
                try:
                    self._read(pull, line, job, chunk, partial, view)
                except Abandoned:
                    self._give_back(job, chunk, state)
                except SourceLacks:
                    self._lacks(pull, state, job, chunk)
                except (SourceSilent, SourceRefused):
                    raise
                except SourceError:
                    failures += 1
                    self._give_back(job, chunk, state)
                    if failures >= MOST_FAILURES:
                        raise
                else:
                    failures = 0
                    pace_s = 0.5 * pace_s + 0.5 * (time.monotonic() - since)
                    self._take(pull, state, job, chunk, partial, view)
        except Abandoned:
            return
        except SourceError as error:
            self._leave(pull, state, str(error))

    def _next(self, pull: Pull, state: SourceState, pace_s: float) -> tuple[Job, int, Partial] | None:
        """The next range for a thread; None when it shall end."""
        idle_until = time.monotonic() + LINGER_S
        with self.lock:
            while state.is_live and not pull.cancelled.is_set():
                pending = pull.pending
                lacking = frozenset(
                    number for number, job in enumerate(pending) if not pull.can_give(state, job)
                )
                now = time.monotonic()
                found = pick([job.ranges for job in pending], state.box, now, SLOW_FACTOR * pace_s, lacking)
                if found is not None:
                    job = pending[found[0]]
                    job.ranges.ask(found[1], state.box, now)
                    return job, found[1], job.receiving()
                if len(lacking) == len(pending) and now > idle_until:
                    return None
                self.lock.wait(_LOOK_AGAIN_S)
        return None

    @staticmethod
    def _read(pull: Pull, line: Line, job: Job, chunk: int, partial: Partial, view: memoryview) -> None:
        offset, _ = job.ranges.span(chunk)

        def wanted() -> bool:
            job.moved_at = time.monotonic()
            return (
                job.partial is partial
                and not job.is_over
                and not job.ranges.there[chunk]
                and not pull.cancelled.is_set()
            )

        path = f"/v2/{pull.repository}/blobs/{job.digest}"
        line.read(path, offset, view, job.blob.size_bytes, wanted)

    def _take(
        self, pull: Pull, state: SourceState, job: Job, chunk: int, partial: Partial, view: memoryview
    ) -> None:
        """A range came: check it, write it, and commit the blob if it was the last."""
        hashes = job.hashes
        if hashes is not None and hashlib.sha256(view).hexdigest() != hashes[chunk]:
            self._ban(pull, state.box, job, f"chunk {chunk} was bad")
            return
        partial.write(chunk, view)
        with self.lock:
            if job.partial is not partial or not job.ranges.arrived(chunk, state.box):
                return
            job.given[state.box] += len(view)
            complete = job.ranges.is_complete and not job.committing
            job.committing = job.committing or complete
            self.lock.notify_all()
        if complete:
            self.commit(job)

    def commit(self, job: Job) -> None:
        """All bytes are there: verify the whole, put it in its place, or begin anew."""
        try:
            partial = job.receiving()
            measured = self._store.commit(partial.path, job.digest)
            partial.forget_map()
            self._holdings.add(measured, job.blob.media_type, job.repository)
        except BadDigest as error:
            self._start_over(job, str(error))
            return
        except OSError as error:
            self._fail(job, TransferError(f"Blob {job.digest} could not be kept: {error}."))
            return
        with self.lock:
            job.done = True
            self._end(job)

    def _start_over(self, job: Job, why: str) -> None:
        log.warning("a whole blob did not match", digest=job.digest, error=why)
        with self.lock:
            job.committing = False
            if job.hashes is not None:
                # Every chunk matched and the whole does not: the list is wrong, whoever sent the bytes.
                self._withdraw_list(job)
                return
            culprit = job.start_over()
            self.lock.notify_all()
            if culprit is not None:
                for pull in self._users(job):
                    self._ban(pull, culprit, job, "the whole blob was bad")

    def _users(self, job: Job) -> list[Pull]:
        return [pull for pull in self.pulls.values() if pull.jobs.get(job.digest) is job]

    def _withdraw_list(self, job: Job) -> None:
        """Fetch the blob without its chunk list; whoever was banned by that list may give it again."""
        log.warning("chunk list withdrawn", digest=job.digest)
        job.withdraw_list()
        for pull in self._users(job):
            for state in pull.sources.values():
                if state.banned_for == job.digest:
                    state.banned_for = state.left = None
            self._hire(pull, 0.0)
        self.lock.notify_all()

    def _fail(self, job: Job, error: TransferError) -> None:
        with self.lock:
            job.error = error
            self._end(job)

    def _end(self, job: Job) -> None:
        """The job is over; tell those who wait, and close the books of pulls that have nothing else."""
        job.partial = None  # its files close once no thread reads or writes them any more
        if self.jobs.get(job.digest) is job:
            del self.jobs[job.digest]
        for pull in self._users(job):
            pull.error = pull.error or job.error
            if not pull.pending:
                pull.ended_at = time.monotonic()
                self.on_end(pull)
        self.lock.notify_all()

    def _give_back(self, job: Job, chunk: int, state: SourceState) -> None:
        with self.lock:
            job.ranges.failed(chunk, state.box)
            self.lock.notify_all()

    def _lacks(self, pull: Pull, state: SourceState, job: Job, chunk: int) -> None:
        with self.lock:
            state.lacks.add(job.digest)
            job.ranges.failed(chunk, state.box)
            self._release(job, state.box)
            self._give_up_if_hopeless(pull)
            self.lock.notify_all()

    def _release(self, job: Job, box: str) -> None:
        if job.ranges.leave(box):
            job.renew_partial()

    def _leave(self, pull: Pull, state: SourceState, why: str) -> None:
        with self.lock:
            if state.left is None and not pull.cancelled.is_set():
                log.warning("source left", source=state.box, image=pull.source.name, error=why)
            state.left = state.left or why
            for job in pull.pending:
                self._release(job, state.box)
            self._give_up_if_hopeless(pull)
            self.lock.notify_all()

    def _ban(self, pull: Pull, box: str, job: Job, why: str) -> None:
        log.warning("source banned", source=box, image=pull.source.name, digest=job.digest, error=why)
        with self.lock:
            state = pull.sources.setdefault(box, SourceState(box))
            state.banned_for = job.digest
        self._leave(pull, state, why)

    def _give_up_if_hopeless(self, pull: Pull) -> None:
        """End what no depository can give any more, once everything that may still help was tried."""
        while hopeless := [job for job in pull.pending if not self._can_come(job)]:
            if not self._second_round(pull) and not self._without_list(pull, hopeless):
                break
        for job in hopeless:
            job.error = NoSource(pull.source.name, pull.tried())
            self._end(job)

    def _second_round(self, pull: Pull) -> bool:
        """Try those once more that only went away."""
        if pull.rounds_left == 0 or pull.cancelled.is_set() or not self._revive(pull):
            return False
        pull.rounds_left -= 1
        self._hire(pull, SECOND_ROUND_S)
        return True

    def _without_list(self, pull: Pull, hopeless: list[Job]) -> bool:
        """Nobody has bytes that match a chunk list: perhaps it is the list that lies."""
        blamed = {state.banned_for for state in pull.sources.values()}
        for job in hopeless:
            if job.hashes is not None and job.digest in blamed:
                self._withdraw_list(job)
                return True
        return False

    def _can_come(self, job: Job) -> bool:
        return any(
            pull.can_give(state, job)
            for pull in self._users(job)
            if not pull.cancelled.is_set()
            for state in pull.sources.values()
        )

    def cancel(self, pull: Pull) -> None:
        """Nobody wants this image any more: end its connections now; what others want as well goes on."""
        with self.lock:
            pull.cancelled.set()
            for line in pull.lines:
                line.close()
            for job in pull.pending:
                for box in pull.sources:
                    self._release(job, box)
                if not self._can_come(job):
                    job.error = Cancelled(f"The transfer of {pull.source.name} was cancelled.")
                    self._end(job)
            self.lock.notify_all()
