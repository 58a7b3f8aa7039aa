"""Which blobs go: a pure decision over what is held."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kept:
    """A blob as the decision sees it; times are Unix times."""

    digest: str
    size_bytes: int
    used_at: float
    pinned_until: float


def choose(
    blobs: Iterable[Kept],
    needed: Collection[str],
    *,
    now: float,
    timer_s: float,
    room_bytes: int | None = None,
) -> list[str]:
    """The blobs to drop, longest unused first.

    All go that were not used for `timer_s`; then more until the rest fits into `room_bytes` (none: no
    limit). What is `needed` or pinned never goes, so the rest may still be larger than the room.
    """
    everything = list(blobs)
    size = sum(blob.size_bytes for blob in everything)
    gone = []
    for blob in sorted(everything, key=lambda item: (item.used_at, item.digest)):
        if blob.digest in needed or blob.pinned_until > now:
            continue
        expired = blob.used_at < now - timer_s
        crowded = room_bytes is not None and size > room_bytes
        if expired or crowded:
            gone.append(blob.digest)
            size -= blob.size_bytes
    return gone
