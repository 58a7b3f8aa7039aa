"""The threads that fetch: two connections to every depository of every image that is wanted now.

All depositories are asked at once. Each thread (`asking.py`) connects and only then takes a range, so the first to
answer gets the first ones; which range that is, `plan.py` decides.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from common.logs import bind, get_logger
from common.oci.digest import BadDigest
from common.oci.store import ContentStore
from workers.depository.asking import Asking
from workers.depository.bandwidth import Bandwidth
from workers.depository.errors import Abandoned, Cancelled, NoSource, SourceError, TransferError
from workers.depository.holdings import Holdings
from workers.depository.partial import Partial
from workers.depository.plan import Giver
from workers.depository.pull import Job, Pull, SourceState
from workers.depository.source import Line

log = get_logger(__name__)

LINES_PER_SOURCE = 2
# Between the moment when the last source was left and the second try of all that did not lie.
SECOND_ROUND_S = 0.5


class Swarm:
    """Fetches the jobs of pulls. `lock` guards all of them and tells whenever something changed."""

    def __init__(
        self, holdings: Holdings, *, box: str, authority: Path, timeout_s: float, bandwidth: Bandwidth
    ) -> None:
        self.box = box
        # Which of the next ranges a peer is asked for is no secret.
        self.dice = random.Random(box)  # noqa: S311
        self._bandwidth = bandwidth
        self._holdings = holdings
        self._store: ContentStore = holdings.store
        self._authority = authority
        self._timeout_s = timeout_s
        self.lock = threading.Condition()
        self.jobs: dict[str, Job] = {}
        self.pulls: dict[str, Pull] = {}
        self.on_end: Callable[[Pull], None] = lambda _: None
        self.on_connect: Callable[[str, float], None] = lambda _box, _round_trip_ms: None

    def start(self, pull: Pull) -> None:
        """Let every depository of the pull work on what is pending; call it with the lock held."""
        if not pull.pending:
            return
        pull.ended_at = None
        pull.started_at = pull.started_at or time.monotonic()
        if not any(state.is_live for state in pull.sources.values()):
            self._revive(pull)
        self._hire(pull, 0.0)
        self.give_up_if_hopeless(pull)
        self.lock.notify_all()  # threads that had nothing left to ask

    def _hire(self, pull: Pull, pause_s: float) -> None:
        useful = sum(job.ranges.count for job in pull.pending)
        for state in pull.sources.values():
            if not any(pull.can_give(state, job) for job in pull.pending):
                continue
            # With many sources one connection to each is enough to use all links.
            most = 1 if pull.is_shared else LINES_PER_SOURCE
            while state.threads < min(most, max(1, useful)):
                state.threads += 1
                state.giver.lines = state.threads
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
            state.news_at = time.monotonic()
        return bool(gone)

    def wake_rested(self, pull: Pull, now: float) -> None:
        """Ask those again that went away a while ago; call it with the lock held."""
        rested = [
            state
            for state in pull.sources.values()
            if state.left is not None and not state.banned and state.again_at <= now
        ]
        for state in rested:
            state.left = None
            state.news_at = now
        if rested:
            self._hire(pull, 0.0)

    def _work(self, pull: Pull, state: SourceState, pause_s: float) -> None:
        endpoint = pull.source.endpoints[state.box]
        line = Line(
            endpoint,
            state.box,
            pull.source.ticket,
            authority=self._authority,
            timeout_s=self._timeout_s,
            bandwidth=self._bandwidth,
        )
        with self.lock:
            pull.lines.add(line)
        try:
            with bind(source=state.box, image=pull.source.name):
                if not pull.cancelled.wait(pause_s):
                    Asking(self, pull, state, line).run()
        except Abandoned:
            log.debug("a transfer ended", source=state.box)
        except SourceError as error:
            self._leave(pull, state, str(error))
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

    def arrived(
        self, job: Job, chunk: int, partial: Partial, state: SourceState, size_bytes: int, took_s: float
    ) -> None:
        """A range was verified and written; the last one of a blob commits it."""
        with self.lock:
            state.giver.gave(size_bytes, took_s)
            state.rest_s = 0.0
            if job.partial is not partial or not job.ranges.arrived(chunk, state.box):
                return
            job.given[state.box] += size_bytes
            complete = job.ranges.is_complete and not job.committing
            job.committing = job.committing or complete
            self.lock.notify_all()
        if complete:
            self.commit(job)

    def commit(self, job: Job) -> None:
        """All bytes are there: verify the whole, put it in its place, or begin anew."""
        try:
            partial = job.receiving()
            measured = self._store.commit(partial.path, job.digest, job.measured(partial))
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
                    self.ban(pull, culprit, job, "the whole blob was bad")

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

    def give_back(self, job: Job, chunk: int, state: SourceState) -> None:
        """The range did not come from this source: others may be asked."""
        with self.lock:
            job.ranges.failed(chunk, state.box)
            self.lock.notify_all()

    def lacks(self, pull: Pull, state: SourceState, job: Job, chunk: int) -> None:
        """The source does not have it."""
        with self.lock:
            pull.lacked(state, job.digest)
            job.ranges.failed(chunk, state.box)
            self._release(job, state.box)
            self.give_up_if_hopeless(pull)
            self.lock.notify_all()

    def _release(self, job: Job, box: str) -> None:
        if job.ranges.leave(box):
            job.renew_partial()

    def _leave(self, pull: Pull, state: SourceState, why: str) -> None:
        with self.lock:
            if state.left is None and not pull.cancelled.is_set():
                log.warning("source left", source=state.box, image=pull.source.name, error=why)
            state.left = state.left or why
            state.rest(time.monotonic())
            for job in pull.pending:
                self._release(job, state.box)
            self.give_up_if_hopeless(pull)
            self.lock.notify_all()

    def ban(self, pull: Pull, box: str, job: Job, why: str) -> None:
        """The source lied: it is not asked again in this transfer."""
        log.warning("source banned", source=box, image=pull.source.name, digest=job.digest, error=why)
        with self.lock:
            state = pull.sources.setdefault(box, SourceState(box, Giver(box)))
            state.banned_for = job.digest
        self._leave(pull, state, why)

    def give_up_if_hopeless(self, pull: Pull) -> None:
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
