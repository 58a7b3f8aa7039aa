"""The transfers of a box as people are shown them: how far each is, and what every source gives now."""

from __future__ import annotations

import time
from collections import deque

from common.transfers import MOST_SOURCES, SourceShare, Transfer
from workers.depository.holdings import Holdings
from workers.depository.pull import Pull, SourceState
from workers.depository.swarm import Swarm

# Ranges arrive whole, on slow lines one every few seconds: a rate over less would jump.
WINDOW_S = 5.0
MOST_DETAIL = 200


class Rates:
    """How fast counters grow, by samples of the last WINDOW_S. Times are seconds on any steady clock."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._samples: dict[tuple[str, str], deque[tuple[float, int]]] = {}

    def sample(self, key: tuple[str, str], count: int, now: float) -> float:
        """Take in a counter as it is now; returns its growth per second. One that went back begins anew."""
        samples = self._samples.setdefault(key, deque())
        if samples and samples[-1][1] > count:
            samples.clear()
        samples.append((now, count))
        # The newest sample that is older than the window stays: growth is measured from there.
        while len(samples) > 2 and samples[1][0] <= now - self._window_s:
            samples.popleft()
        began, before = samples[0]
        return (count - before) / (now - began) if now > began else 0.0

    def keep(self, keys: set[tuple[str, str]]) -> None:
        """Forget all other counters."""
        self._samples = {key: samples for key, samples in self._samples.items() if key in keys}


class Running:
    """What runs in a swarm."""

    def __init__(self, swarm: Swarm, holdings: Holdings) -> None:
        self._swarm = swarm
        self._holdings = holdings
        self._rates = Rates()

    def look(self, wait_s: float = 0.0) -> list[Transfer]:
        """All transfers that run, those that began first first; waits up to `wait_s` for one to begin."""
        until = time.monotonic() + wait_s
        with self._swarm.lock:
            while not (pulls := self._pulls()) and (left_s := until - time.monotonic()) > 0:
                self._swarm.lock.wait(left_s)
            found = [self._transfer(pull) for pull in pulls]
            self._rates.keep({(item.manifest, source.box) for item in found for source in item.sources})
        return [self._with_what_was_there(pull, item) for pull, item in zip(pulls, found, strict=True)]

    def _pulls(self) -> list[Pull]:
        running = [
            pull for pull in self._swarm.pulls.values() if pull.pending and not pull.cancelled.is_set()
        ]
        return sorted(running, key=lambda pull: pull.started_at or 0.0)

    def _transfer(self, pull: Pull) -> Transfer:
        """All but the blobs that no transfer was needed for; call it with the lock held."""
        now = time.monotonic()
        given = pull.facts().sources
        sources = [self._source(pull, state, given.get(box, 0), now) for box, state in pull.sources.items()]
        sources.sort(key=lambda item: (-item.rate_bps, -item.size_bytes, item.box))
        return Transfer(
            image=pull.source.name[:400],
            manifest=pull.source.manifest,
            began_at=time.time() - (now - (pull.started_at or now)),
            size_bytes=sum(blob.size_bytes for blob in pull.source.blobs),
            done_bytes=sum(_arrived_bytes(pull, blob.digest) for blob in pull.source.blobs),
            rate_bps=sum(item.rate_bps for item in sources),
            sources=sources[:MOST_SOURCES],
        )

    def _source(self, pull: Pull, state: SourceState, size_bytes: int, now: float) -> SourceShare:
        per_s = self._rates.sample((pull.source.manifest, state.box), size_bytes, now)
        why = "".join(letter if letter.isprintable() else " " for letter in state.left or "")
        return SourceShare(
            box=state.box,
            state="banned" if state.banned else "left" if state.left is not None else "giving",
            fetching=state.giver.is_peer,
            size_bytes=size_bytes,
            rate_bps=round(per_s * 8),
            detail="" if state.banned else why[:MOST_DETAIL],
        )

    def _with_what_was_there(self, pull: Pull, transfer: Transfer) -> Transfer:
        unasked = {blob.digest: blob.size_bytes for blob in pull.source.blobs if blob.digest not in pull.jobs}
        there = set(unasked) - set(self._holdings.missing(unasked))
        more = sum(unasked[digest] for digest in there)
        return transfer.model_copy(update={"done_bytes": transfer.done_bytes + more})


def _arrived_bytes(pull: Pull, digest: str) -> int:
    job = pull.jobs.get(digest)
    if job is None or job.error is not None:
        return 0
    if job.done:
        return job.blob.size_bytes
    return min(sum(job.ranges.there) * job.ranges.chunk_bytes, job.blob.size_bytes)
