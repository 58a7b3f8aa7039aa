"""Which ranges of a blob are there, and who was asked for which: pure bookkeeping.

A blob is cut into chunks. A chunk is *there* once it arrived and was verified; until then it may be asked
of one source, and a slow one of a second source too (`plan.py` decides). A blob without chunk hashes can
only be verified whole, so at any time it comes from one source alone (its `holder`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
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

    def has(self, part: range) -> bool:
        """Whether all these bytes are there."""
        chunks = range(part.start // self.chunk_bytes, -(-part.stop // self.chunk_bytes))
        return 0 <= part.start < part.stop <= self.size_bytes and all(self.there[chunk] for chunk in chunks)

    def may_give(self, source: str) -> bool:
        """Whether this source may be asked at all now."""
        return self.verified_by_chunk or self.holder in (None, source)

    def free(self) -> Iterator[int]:
        """The chunks that are not there and that nobody was asked for, in order."""
        while self._first_free < self.count and not self._is_free(self._first_free):
            self._first_free += 1
        return filter(self._is_free, range(self._first_free, self.count))

    def _is_free(self, chunk: int) -> bool:
        return not self.there[chunk] and chunk not in self.asked

    def in_flight(self, sources: Collection[str]) -> int:
        """How many chunks these sources owe."""
        return sum(1 for askers in self.asked.values() for source in askers if source in sources)

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
