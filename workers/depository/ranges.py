"""Which range of a blob to ask of whom: pure bookkeeping without clocks, threads or sockets.

A blob is cut into chunks. A chunk is *there* once it arrived and was verified; until then it may be asked
of one source, and near the end, when nothing is left to ask, a slow one of a second source too. A blob without
chunk hashes can only be verified whole, so at any time it comes from one source alone (its `holder`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# A range is in flight at two sources at most: a third would rarely win and always cost.
MOST_ASKED = 2


@dataclass
class BlobRanges:
    """The chunks of one blob. Sources are box ids; times are seconds on any steady clock."""

    size_bytes: int
    chunk_bytes: int
    verified_by_chunk: bool
    there: bytearray = field(init=False)
    asked: dict[int, dict[str, float]] = field(default_factory=dict)
    holder: str | None = None
    # Who gave bytes of the present attempt; more than one can only be told apart by chunk hashes.
    givers: set[str] = field(default_factory=set)
    # After a mixed attempt failed, an attempt ends with its holder, so that the next failure has one culprit.
    strict: bool = False
    contiguous: int = 0
    _first_free: int = 0

    def __post_init__(self) -> None:
        if self.size_bytes < 0 or self.chunk_bytes <= 0:
            raise ValueError("a blob has a size and its chunks are not empty")
        self.there = bytearray(-(-self.size_bytes // self.chunk_bytes))

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return len(self.there)

    @property
    def is_complete(self) -> bool:
        """Whether every chunk is there."""
        return self.contiguous == self.count

    @property
    def contiguous_bytes(self) -> int:
        """Bytes from the start without a gap."""
        return min(self.contiguous * self.chunk_bytes, self.size_bytes)

    def span(self, chunk: int) -> tuple[int, int]:
        """Offset and length of a chunk."""
        offset = chunk * self.chunk_bytes
        return offset, min(self.chunk_bytes, self.size_bytes - offset)

    def may_give(self, source: str) -> bool:
        """Whether this source may be asked at all now."""
        return self.verified_by_chunk or self.holder in (None, source)

    def fresh(self, source: str) -> int | None:
        """The first chunk that is not there and that nobody was asked for."""
        if not self.may_give(source):
            return None
        while self._first_free < self.count and (
            self.there[self._first_free] or self.asked.get(self._first_free)
        ):
            self._first_free += 1
        return self._first_free if self._first_free < self.count else None

    def slow(self, source: str, asked_before: float) -> int | None:
        """The chunk that another source owes for longest, if it was asked before `asked_before`."""
        if not self.may_give(source):
            return None
        late = [
            (min(askers.values()), chunk)
            for chunk, askers in self.asked.items()
            if askers and source not in askers and len(askers) < MOST_ASKED
        ]
        since, chunk = min(late, default=(asked_before, -1))
        return chunk if since < asked_before else None

    def ask(self, chunk: int, source: str, now: float) -> None:
        """`source` is being asked for the chunk."""
        if not self.verified_by_chunk:
            self.holder = source
        self.asked.setdefault(chunk, {}).setdefault(source, now)

    def arrived(self, chunk: int, source: str) -> bool:
        """The chunk came whole (and verified, if it can be); False if it was there already or is not awaited."""
        awaited = source in self.asked.get(chunk, {})
        self._answered(chunk, source)
        if self.there[chunk] or not awaited:
            return False
        self.there[chunk] = 1
        self.givers.add(source)
        while self.contiguous < self.count and self.there[self.contiguous]:
            self.contiguous += 1
        return True

    def failed(self, chunk: int, source: str) -> None:
        """The chunk did not come from this source: others may be asked."""
        self._answered(chunk, source)

    def leave(self, source: str) -> bool:
        """Give back all that was asked of a source that is left; True if what is there was given up with it."""
        for chunk in [number for number, askers in self.asked.items() if source in askers]:
            self._answered(chunk, source)
        if self.verified_by_chunk or self.holder != source:
            return False
        self.holder = None
        if self.strict and not self.is_complete:
            self.restart()
            return True
        return False

    def restart(self) -> None:
        """Begin anew without anything; what is under way no longer counts."""
        self.there = bytearray(self.count)
        self.asked.clear()
        self.givers.clear()
        self.holder = None
        self.contiguous = self._first_free = 0

    def mismatched(self) -> str | None:
        """The whole blob was there and is not what its digest says: begin anew.

        Returns the source that is to blame, or None if several gave bytes; then the next attempts are strict.
        """
        culprit = next(iter(self.givers)) if len(self.givers) == 1 else None
        self.strict = True
        self.restart()
        return culprit

    def resume(self, chunks: Iterable[int], giver: str) -> None:
        """Take over chunks that an earlier run left on the disk."""
        for chunk in chunks:
            self.there[chunk] = 1
            self.givers.add(giver)
        while self.contiguous < self.count and self.there[self.contiguous]:
            self.contiguous += 1

    def _answered(self, chunk: int, source: str) -> None:
        askers = self.asked.get(chunk)
        if askers is None or source not in askers:
            return
        del askers[source]
        if not askers:
            del self.asked[chunk]
            self._first_free = min(self._first_free, chunk)


def pick(
    blobs: Sequence[BlobRanges], source: str, now: float, patience_s: float, lacking: frozenset[int]
) -> tuple[int, int] | None:
    """What to ask of a source next: (index of the blob, chunk), in the order of the blobs.

    Near the end, when every chunk was asked for, the one that another source owes for longer than
    `patience_s` is asked a second time. `lacking` are the blobs that this source does not have.
    """
    able = [(number, blob) for number, blob in enumerate(blobs) if number not in lacking]
    for number, blob in able:
        if not blob.is_complete and (chunk := blob.fresh(source)) is not None:
            return number, chunk
    for number, blob in able:
        if not blob.is_complete and (chunk := blob.slow(source, now - patience_s)) is not None:
            return number, chunk
    return None
