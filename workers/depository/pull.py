"""The state of transfers: one blob that is arriving (`Job`), one image that is wanted (`Pull`).

A job is shared by all pulls that want its blob. Everything here is guarded by the lock of the swarm
(`swarm.py`) that works on it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from common.oci.chunks import CHUNK_BYTES, Measured, fits
from common.oci.store import ContentStore
from common.wishes import BlobSource, ImageSource
from workers.depository.errors import TransferError
from workers.depository.facts import TransferFacts
from workers.depository.partial import Partial
from workers.depository.plan import Giver
from workers.depository.ranges import BlobRanges
from workers.depository.source import Line

# In an ImageSource come the manifest, then the config, then the layers.
FIRST_LAYER = 2
# A source that went away is asked again after a pause, which doubles up to the limit.
FIRST_REST_S = 2.0
LONGEST_REST_S = 60.0
# A peer that has nothing new for so long is not waited for.
PEER_PATIENCE_S = 30.0
# Who gave the bytes that an earlier run of this process left on the disk is not known.
UNKNOWN = ""


class Job:
    """One blob on its way into the store."""

    def __init__(self, store: ContentStore, blob: BlobSource, repository: str) -> None:
        self._store = store
        self.blob = blob
        self.repository = repository
        listed = blob.chunk_list
        usable = listed is not None and fits(listed, blob.digest, blob.size_bytes)
        self.chunk_list = listed if usable else None
        self._chunk_bytes = CHUNK_BYTES if self.chunk_list is None else self.chunk_list.chunk_bytes
        self.ranges = self._new_ranges()
        partial = self._new_partial()
        self.partial: Partial | None = partial
        self.ranges.resume(partial.resume(self.hashes), UNKNOWN)
        self.given: Counter[str] = Counter()
        self.done = False
        self.committing = False
        self.error: TransferError | None = None
        self.moved_at = time.monotonic()

    @property
    def digest(self) -> str:
        """The blob's digest."""
        return self.blob.digest

    @property
    def hashes(self) -> list[str] | None:
        """The sha256 of each chunk, if the master vouched for them."""
        return None if self.chunk_list is None else self.chunk_list.chunks

    @property
    def is_over(self) -> bool:
        """Whether it ended, well or not."""
        return self.done or self.error is not None

    def receiving(self) -> Partial:
        """Where the bytes go; only a job that is not over has it."""
        if self.partial is None:
            raise RuntimeError(f"the transfer of {self.digest} is over")
        return self.partial

    def measured(self, partial: Partial) -> Measured | None:
        """What was hashed while it came; nothing where no chunk could be checked as it came."""
        if self.chunk_list is None:
            return None
        return Measured(f"sha256:{partial.sha256()}", self.blob.size_bytes, self.chunk_list)

    def _new_ranges(self) -> BlobRanges:
        return BlobRanges(self.blob.size_bytes, self._chunk_bytes, self.hashes is not None)

    def _new_partial(self) -> Partial:
        return Partial(self._store, self.digest, self.blob.size_bytes, self._chunk_bytes)

    def start_over(self) -> str | None:
        """All bytes came and are not the blob: throw them away. Returns the box to blame, if it is known."""
        culprit = self.ranges.mismatched()
        self.renew_partial()
        return culprit or None

    def withdraw_list(self) -> None:
        """The chunk list cannot be right: begin anew, and believe only the digest of the whole."""
        self.chunk_list = None
        self.ranges = self._new_ranges()
        self.renew_partial()

    def renew_partial(self) -> None:
        """Begin with an empty file; a thread that still writes to the old one does no harm."""
        self.receiving().discard()
        self.partial = self._new_partial()
        self.given.clear()


@dataclass
class SourceState:
    """One depository (or box that fetches as well) within one pull."""

    box: str
    giver: Giver
    lacks: set[str] = field(default_factory=set)
    left: str | None = None
    # When it is asked again after it was left, and how long it was left alone the last time.
    again_at: float = 0.0
    rest_s: float = 0.0
    # The blob of which it sent bad bytes.
    banned_for: str | None = None
    threads: int = 0
    # A peer: when it was last asked what it has, and when it last had something new.
    asked_at: float = 0.0
    news_at: float = field(default_factory=time.monotonic)

    @property
    def banned(self) -> bool:
        """Whether it lied; it is not asked again in this transfer."""
        return self.banned_for is not None

    @property
    def is_live(self) -> bool:
        """Whether it is being asked, or could be."""
        return self.left is None and not self.banned

    def rest(self, now: float) -> None:
        """It is left alone for a while, each time for longer."""
        self.rest_s = min(self.rest_s * 2, LONGEST_REST_S) if self.rest_s else FIRST_REST_S
        self.again_at = now + self.rest_s

    def learn(self, chunks: dict[str, bytes | None], now: float) -> None:
        """What a peer says that it has."""
        known = {digest: there for digest, there in chunks.items() if digest not in self.lacks}
        if known != self.giver.chunks:
            self.giver.chunks = known
            self.news_at = now


class Pull:
    """One image that somebody on this box wants, whole (hold) or as far as the engine asks (plan)."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self.repository = repository_of(source)
        self.users: set[str] = set()
        self.jobs: dict[str, Job] = {}
        self.sources: dict[str, SourceState] = {}
        self.lines: set[Line] = set()
        self.rounds_left = 1
        self.cancelled = threading.Event()
        self.error: TransferError | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self._position: dict[str, int] = {}
        self.update(source)

    def update(self, source: ImageSource) -> None:
        """A newer placement of the same image: its ticket, its depositories."""
        self.source = source
        self._position = {blob.digest: number for number, blob in enumerate(source.blobs)}
        for box in source.endpoints:
            state = self.sources.setdefault(box, SourceState(box, Giver(box)))
            state.giver.is_peer = box in source.fetching
            if not state.giver.is_peer:
                held = {blob.digest for blob in source.blobs if box in blob.boxes} - state.lacks
                state.giver.chunks = dict.fromkeys(held)

    @property
    def pending(self) -> list[Job]:
        """What is still on its way, in layer order."""
        waiting = [job for job in self.jobs.values() if not job.is_over]
        return sorted(waiting, key=lambda job: self._position.get(job.digest, len(self._position)))

    @property
    def is_over(self) -> bool:
        """Whether it began and ended; one that was only planned has not begun."""
        return self.cancelled.is_set() or (self.started_at is not None and not self.pending)

    def blobs_from(self, digest: str) -> list[BlobSource]:
        """The blob, and if it is a layer all after it: an engine that misses one layer misses the later ones."""
        position = self._position[digest]
        blobs = self.source.blobs
        return [blobs[position]] if position < FIRST_LAYER else list(blobs[position:])

    def blob(self, digest: str) -> BlobSource | None:
        """The blob of this image with that digest."""
        position = self._position.get(digest)
        return None if position is None else self.source.blobs[position]

    @property
    def is_shared(self) -> bool:
        """Whether boxes that fetch the image too are among its sources."""
        return any(state.giver.is_peer and state.is_live for state in self.sources.values())

    def can_give(self, state: SourceState, job: Job) -> bool:
        """Whether this source may be asked for the blob, now or soon."""
        if not state.is_live or state.box not in self.source.endpoints or job.digest in state.lacks:
            return False
        if self.blob(job.digest) is None:
            return False
        if not state.giver.is_peer:
            return job.digest in state.giver.chunks
        # Whoever waits for peers that wait for others waits for ever; bytes in one piece never come from them.
        return job.hashes is not None and time.monotonic() - state.news_at < PEER_PATIENCE_S

    def lacked(self, state: SourceState, digest: str) -> None:
        """The source has no such blob; a peer may have it later."""
        if not state.giver.is_peer:
            state.lacks.add(digest)
        state.giver.chunks.pop(digest, None)

    def tried(self) -> list[tuple[str, str]]:
        """Each depository with what it did."""
        return [
            (box, "it sent bad bytes" if state.banned else state.left or "it does not hold all of it")
            for box, state in self.sources.items()
        ]

    def facts(self) -> TransferFacts:
        """What was transferred so far, and how it stands."""
        given: Counter[str] = Counter()
        for job in self.jobs.values():
            given.update(job.given)
        now = time.monotonic() if self.ended_at is None else self.ended_at
        return TransferFacts(
            state=self._state(),
            size_bytes=sum(given.values()),
            sources=dict(given),
            banned=sorted(box for box, state in self.sources.items() if state.banned),
            took_s=0.0 if self.started_at is None else now - self.started_at,
            error=str(self.error) if self.error else "",
        )

    def _state(self) -> str:
        if self.cancelled.is_set():
            return "cancelled"
        if self.error is not None:
            return "failed"
        return "running" if self.pending else "done"


def repository_of(source: ImageSource) -> str:
    """The repository in an image's name: `site` of `site:1`; without a name, one that fits any client."""
    name = source.name.split("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag and head else name
