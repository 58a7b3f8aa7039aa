"""What the rest of a box sees of transfers: plan an image, hold it, read its blobs while they arrive."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from common.errors import NotFound
from common.oci.store import ContentStore
from common.wishes import BlobSource, ImageSource
from workers.box.config import BoxConfig, BoxPaths
from workers.box.seen import SeenRoundTrips
from workers.box.table import Table
from workers.depository.bandwidth import Bandwidth
from workers.depository.errors import Cancelled, TransferError
from workers.depository.facts import TransferFacts
from workers.depository.holdings import Holdings
from workers.depository.partial import Partial
from workers.depository.plan import bits
from workers.depository.pull import FIRST_LAYER, Job, Pull
from workers.depository.ranges import BlobRanges
from workers.depository.showing import Running
from workers.depository.swarm import Swarm

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS plans (manifest TEXT PRIMARY KEY, source TEXT NOT NULL, at REAL NOT NULL)",
    "CREATE TABLE IF NOT EXISTS transfers (manifest TEXT PRIMARY KEY, facts TEXT NOT NULL, at REAL NOT NULL)",
)
# A reader gives up when not a byte of the image came for so many source timeouts; by then every source was left.
STALL_FACTOR = 15
_WAKE_S = 1.0


@dataclass(frozen=True)
class Span:
    """Bytes that can be sent now: part of a file."""

    file: BinaryIO
    offset: int
    length: int
    # Whoever sends these bytes keeps their file open: a blob may be committed meanwhile.
    kept: Partial | None = None


@dataclass(frozen=True)
class Arrived:
    """A blob that is on its way; while this is kept, its file stays open."""

    partial: Partial
    ranges: BlobRanges
    size_bytes: int


class Fetcher:
    """All transfers of a box, in its front process."""

    def __init__(self, config: BoxConfig, paths: BoxPaths, table: Table, holdings: Holdings) -> None:
        self._config = config
        self._table = table
        self._holdings = holdings
        self._making = threading.Lock()
        self._swarm = Swarm(
            holdings,
            box=config.box,
            authority=paths.authority,
            timeout_s=config.source_timeout_s,
            bandwidth=Bandwidth(config.layers_in_bps),
        )
        self._swarm.on_end = self._write_down
        self._swarm.on_connect = SeenRoundTrips(table).note
        self._lock = self._swarm.lock
        self.running = Running(self._swarm, holdings)
        table.create(*_SCHEMA)
        for row in table.all("SELECT manifest, source FROM plans"):
            self._swarm.pulls[row["manifest"]] = Pull(ImageSource.model_validate_json(row["source"]))

    def plan(self, source: ImageSource, user: str = "") -> None:
        """Let the engine pull this image; `user` may cancel it.

        What every pull begins with is fetched at once, and with it all depositories are reached, so that layers come
        as soon as the engine asks for the first one that it misses: which that is, only the engine knows.
        """
        pull = self._plan(source, user)
        self._want(pull, source.blobs[:FIRST_LAYER])

    def _plan(self, source: ImageSource, user: str) -> Pull:
        now = time.time()
        with self._table.transaction() as connection:
            connection.execute("DELETE FROM plans WHERE at < ?", (now - self._config.layer_timer_s,))
            connection.execute(
                "INSERT OR REPLACE INTO plans VALUES (?, ?, ?)",
                (source.manifest, source.model_dump_json(), now),
            )
        kept = {row["manifest"] for row in self._table.all("SELECT manifest FROM plans")}
        with self._lock:
            for manifest in [key for key in self._swarm.pulls if key not in kept]:
                if not self._swarm.pulls[manifest].pending:
                    del self._swarm.pulls[manifest]
            running = self._swarm.pulls.get(source.manifest)
            if running is not None and not running.is_over:
                running.update(source)
                self._swarm.start(running)
            else:
                running = self._swarm.pulls[source.manifest] = Pull(source)
                # What an earlier pull cost is not what this one does, if all is here already.
                self._table.write("DELETE FROM transfers WHERE manifest = ?", (source.manifest,))
            running.users.add(user)
        self._holdings.link(running.repository, [blob.digest for blob in source.blobs])
        self._holdings.touch(blob.digest for blob in source.blobs)
        return running

    def hold(self, source: ImageSource, user: str = "") -> None:
        """Start to fetch all that is missing of an image; `wait` tells how it goes."""
        self._want(self._plan(source, user), source.blobs)

    def cancel(self, manifest: str, user: str = "") -> None:
        """`user` does not want the image any more; when nobody does, its transfer ends at once."""
        with self._lock:
            pull = self._swarm.pulls.get(manifest)
            if pull is None:
                return
            pull.users.discard(user)
            if pull.users:
                return
            self._swarm.cancel(pull)

    def wait(self, manifest: str, limit_s: float) -> TransferFacts:
        """How the transfer stands as soon as it has ended, at the latest after `limit_s`."""
        until = time.monotonic() + limit_s
        with self._lock:
            while True:
                facts = self._facts(manifest)
                left_s = until - time.monotonic()
                if facts.state != "running" or left_s <= 0:
                    return facts
                self._lock.wait(min(left_s, _WAKE_S))

    def _facts(self, manifest: str) -> TransferFacts:
        pull = self._swarm.pulls.get(manifest)
        if pull is not None and pull.started_at is not None:
            return pull.facts()
        row = self._table.one("SELECT facts FROM transfers WHERE manifest = ?", (manifest,))
        if pull is not None and row is None:
            return pull.facts()
        if row is None:
            return TransferFacts(state="unknown")
        return TransferFacts.model_validate_json(row["facts"])

    def _write_down(self, pull: Pull) -> None:
        self._table.write(
            "INSERT OR REPLACE INTO transfers VALUES (?, ?, ?)",
            (pull.source.manifest, pull.facts().model_dump_json(), time.time()),
        )

    def planned(self, repository: str, digest: str) -> tuple[Pull, BlobSource]:
        """The plan of `repository` that has this blob; raises NotFound, so that nothing else is served."""
        with self._lock:
            for pull in reversed(self._swarm.pulls.values()):
                if pull.repository == repository and (blob := pull.blob(digest)) is not None:
                    return pull, blob
        raise NotFound(f"No plan of {repository} has {digest}.")

    def spans(self, pull: Pull, blob: BlobSource, offset: int, length: int) -> Iterator[Span]:
        """The bytes of a planned blob as they become there, in order.

        Only verified bytes: by chunk, or where no chunk list is known when the whole blob is there. Raises
        TransferError when they will not come.
        """
        end = offset + length
        job = self._want(pull, pull.blobs_from(blob.digest)).get(blob.digest)
        while job is not None and offset < end:
            ready, partial = self._ready(pull, job, offset)
            if partial is None:
                break
            take = min(ready, end) - offset
            yield Span(partial.file, offset, take, partial)
            offset += take
        if offset < end or length == 0:
            with self._holdings.store.open(blob.digest) as stored:
                yield Span(stored, offset, end - offset)

    def arriving(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Which chunks are there of those blobs that are on their way and verified chunk by chunk, as bits."""
        with self._lock:
            jobs = [job for digest in digests if (job := self._swarm.jobs.get(digest)) is not None]
            return {job.digest: bits(job.ranges.there) for job in jobs if job.hashes is not None}

    def arrived(self, digest: str) -> Arrived | None:
        """A blob that is on its way and verified chunk by chunk; its `ranges` tell what may be read."""
        with self._lock:
            job = self._swarm.jobs.get(digest)
            if job is None or job.hashes is None or job.partial is None:
                return None
            return Arrived(job.partial, job.ranges, job.blob.size_bytes)

    def _ready(self, pull: Pull, job: Job, offset: int) -> tuple[int, Partial | None]:
        """Up to where the blob can be read beyond `offset`, and where; nowhere: it is in the store."""
        limit_s = STALL_FACTOR * self._config.source_timeout_s
        job.moved_at = time.monotonic()
        with self._lock:
            while not job.done:
                if job.error is not None:
                    raise job.error
                ready = job.ranges.contiguous_bytes
                if job.hashes is not None and ready > offset:
                    return ready, job.receiving()
                if time.monotonic() - max(item.moved_at for item in (job, *pull.pending)) > limit_s:
                    raise TransferError(f"Nothing of {pull.source.name} came for {limit_s:.0f} s.")
                self._lock.wait(_WAKE_S)
        return 0, None

    def _want(self, pull: Pull, blobs: list[BlobSource]) -> dict[str, Job]:
        """Fetch what is missing of these blobs; returns the jobs under way by digest."""
        with self._making:
            missing = set(self._holdings.missing(blob.digest for blob in blobs))
            jobs = [self._job(pull, blob) for blob in blobs if blob.digest in missing]
            with self._lock:
                if pull.cancelled.is_set():
                    raise Cancelled(f"The transfer of {pull.source.name} was cancelled.")
                if not pull.pending:
                    pull.error, pull.rounds_left = None, 1
                pull.jobs.update((job.digest, job) for job in jobs)
                self._swarm.jobs.update((job.digest, job) for job in jobs if not job.is_over)
                self._swarm.start(pull)
                self._lock.notify_all()
        for job in jobs:
            self._commit_if_whole(job)
        return {job.digest: job for job in jobs}

    def _job(self, pull: Pull, blob: BlobSource) -> Job:
        with self._lock:
            running = self._swarm.jobs.get(blob.digest)
        return running or Job(self._holdings.store, blob, pull.repository)

    def _commit_if_whole(self, job: Job) -> None:
        """A blob that needs nothing from anybody: an empty one, or one that only missed its last step."""
        with self._lock:
            whole = job.ranges.is_complete and not job.committing and not job.is_over
            job.committing = job.committing or whole
        if whole:
            self._swarm.commit(job)


_fetchers: weakref.WeakKeyDictionary[Table, Fetcher] = weakref.WeakKeyDictionary()
_fetchers_lock = threading.Lock()


def shared_fetcher(config: BoxConfig, paths: BoxPaths, table: Table) -> Fetcher:
    """The one fetcher of the box that `table` belongs to: the engine's pulls and the worker's share transfers."""
    with _fetchers_lock:
        fetcher = _fetchers.get(table)
        if fetcher is None:
            holdings = Holdings(table, ContentStore(paths.store))
            fetcher = _fetchers[table] = Fetcher(config, paths, table, holdings)
        return fetcher
