"""Layers go by their timers and, where room is short, longest unused first; what is needed stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.depository.eviction import Kept, choose

kept = st.builds(
    Kept,
    digest=st.text("abcdef", min_size=4, max_size=4),
    size_bytes=st.integers(0, 100),
    used_at=st.floats(0, 1000),
    pinned_until=st.sampled_from([0.0, 2000.0]),
)


@given(st.lists(kept, unique_by=lambda item: item.digest), st.sets(st.text("abcdef", min_size=4, max_size=4)),
       st.none() | st.integers(0, 500))  # fmt: skip
def test_what_is_needed_or_pinned_stays_and_the_rest_fits(
    blobs: list[Kept], needed: set[str], room: int | None
) -> None:
    gone = choose(blobs, needed, now=1000.0, timer_s=300.0, room_bytes=room)
    by_digest = {blob.digest: blob for blob in blobs}
    assert len(set(gone)) == len(gone)
    assert not any(digest in needed or by_digest[digest].pinned_until > 1000.0 for digest in gone)
    free = [blob for blob in blobs if blob.digest not in needed and blob.pinned_until == 0.0]
    assert all(blob.digest in gone for blob in free if blob.used_at < 700.0)
    left = [blob for blob in blobs if blob.digest not in gone]
    if room is not None and any(blob in free for blob in left):
        assert sum(blob.size_bytes for blob in left) <= room
    ages = [by_digest[digest].used_at for digest in gone]
    assert ages == sorted(ages)


def test_without_a_reason_nothing_goes() -> None:
    blobs = [Kept("a", 10, 990.0, 0.0)]
    assert choose(blobs, (), now=1000.0, timer_s=300.0, room_bytes=10) == []
