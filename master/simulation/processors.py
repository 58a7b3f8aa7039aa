"""Processors that many boxes share, as in a lab on one machine: every thread gets the same, up to a limit."""

from __future__ import annotations

import math
from collections.abc import Callable

from master.simulation.clock import Clock

_DUST_S = 1e-9  # what rounding leaves of work that is done


class Job:
    """Work on the processors: so many seconds of one core, by `threads`; at most `most` cores at once."""

    __slots__ = ("done", "left_s", "most", "rate", "threads")

    def __init__(self, cpu_s: float, threads: float, most: float, done: Callable[[], object]) -> None:
        self.left_s = cpu_s
        self.threads, self.most = threads, most
        self.done = done
        self.rate = 0.0


class Processors:
    """`cores` that are shared max-min fairly by all threads; 0: there are enough for everybody."""

    def __init__(self, clock: Clock, cores: float) -> None:
        self._clock = clock
        self._cores = cores or math.inf
        self._jobs: dict[Job, None] = {}  # in the order in which they came
        self._since = 0.0
        self._turn = 0

    def work(
        self, cpu_s: float, done: Callable[[], object], *, threads: float = 1.0, most: float | None = None
    ) -> Job:
        """Begin; `done` is called when so many seconds of processor time have been spent.

        `most` cores it may have at once, without it as many as it has threads.
        """
        self._advance()
        job = Job(cpu_s, threads, threads if most is None else most, done)
        self._jobs[job] = None
        self._share()
        return job

    def stop(self, job: Job) -> None:
        """Give up what is left of it; one that is done already is no error."""
        if job in self._jobs:
            self._advance()
            del self._jobs[job]
            self._share()

    def _advance(self) -> None:
        passed_s = self._clock.now - self._since
        self._since = self._clock.now
        for job in self._jobs:
            job.left_s -= job.rate * passed_s

    def _share(self) -> None:
        """Fill up those who want least first; announce when the first will be done."""
        left, threads = self._cores, sum(job.threads for job in self._jobs)
        jobs = sorted(self._jobs, key=lambda job: job.most / job.threads)
        for job in jobs:
            job.rate = min(job.most, left * job.threads / threads)
            left -= job.rate
            threads -= job.threads
        self._turn += 1
        next_s = min((max(0.0, job.left_s) / job.rate for job in jobs), default=math.inf)
        if next_s < math.inf:
            self._clock.at(self._clock.now + next_s, self._finish, self._turn)

    def _finish(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._advance()
        over = [job for job in self._jobs if job.left_s <= _DUST_S]
        for job in over:
            del self._jobs[job]
        self._share()
        for job in over:
            job.done()
