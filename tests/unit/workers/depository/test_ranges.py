"""Range planning: every byte exactly once whatever sources do, and progress while one good source is left."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.depository.plan import Giver, choose
from workers.depository.ranges import MOST_ASKED, BlobRanges

SOURCES = ("a", "b", "c")
GOOD = "good"

blobs = st.lists(st.tuples(st.integers(0, 500), st.integers(1, 90), st.booleans()), min_size=1, max_size=4)
events = st.lists(
    st.tuples(st.sampled_from((*SOURCES, GOOD)), st.sampled_from(["ask", "give", "fail", "leave"])),
    max_size=80,
)


@dataclass
class Blob:
    """A blob on its way."""

    digest: str
    ranges: BlobRanges


def pick(
    blobs: list[BlobRanges], source: str, now: float, lacking: frozenset[int] = frozenset()
) -> tuple[int, int] | None:
    """What the plan asks of a source that has all but the blobs `lacking`."""
    wanted = [Blob(f"sha256:{number:064x}", ranges) for number, ranges in enumerate(blobs)]
    chunks: dict[str, bytes | None] = {
        blob.digest: None for number, blob in enumerate(wanted) if number not in lacking
    }
    return choose(wanted, Giver(source, chunks=chunks), [], now, me="me", dice=random.Random(1))  # noqa: S311


class Transfer:
    """Plays sources against the plan and counts what it takes from them."""

    def __init__(self, shapes: list[tuple[int, int, bool]]) -> None:
        self.blobs = [BlobRanges(size, chunk, listed) for size, chunk, listed in shapes]
        self.open: dict[str, list[tuple[int, int]]] = {}
        self.taken: dict[int, list[int]] = {number: [] for number in range(len(shapes))}
        self.now = 0.0

    def play(self, source: str, event: str) -> bool:
        """One event; False if the source has nothing to do."""
        self.now += 1.0
        owed = self.open.setdefault(source, [])
        if event == "ask":
            found = pick(self.blobs, source, self.now)
            if found is None:
                return False
            self.blobs[found[0]].ask(found[1], source, self.now)
            owed.append(found)
        elif event == "leave":
            owed.clear()
            for number, blob in enumerate(self.blobs):
                if blob.leave(source):
                    self.taken[number].clear()
        elif owed:
            number, chunk = owed.pop(0)
            if event == "fail":
                self.blobs[number].failed(chunk, source)
            elif self.blobs[number].arrived(chunk, source):
                self.taken[number].append(chunk)
        else:
            return False
        self.check()
        return True

    def check(self) -> None:
        for blob in self.blobs:
            assert all(len(askers) <= MOST_ASKED for askers in blob.asked.values())
            if not blob.verified_by_chunk:
                assert len({source for askers in blob.asked.values() for source in askers}) <= 1


@settings(max_examples=200)
@given(blobs, events)
def test_every_byte_is_taken_once_and_one_good_source_is_enough(
    shapes: list[tuple[int, int, bool]], script: list[tuple[str, str]]
) -> None:
    transfer = Transfer(shapes)
    for source, event in script:
        transfer.play(source, event)
    for source in SOURCES:  # all others go; the good one asks and gives
        transfer.play(source, "leave")
    for _ in range(2 * sum(blob.count for blob in transfer.blobs) + len(script)):
        transfer.play(GOOD, "ask")
        transfer.play(GOOD, "give")
    for number, blob in enumerate(transfer.blobs):
        assert blob.is_complete
        assert blob.contiguous_bytes == blob.size_bytes
        assert sorted(transfer.taken[number]) == list(range(blob.count))
        covered = [position for chunk in range(blob.count) for position in range(*_bounds(blob, chunk))]
        assert covered == list(range(blob.size_bytes))


def _bounds(blob: BlobRanges, chunk: int) -> tuple[int, int]:
    offset, length = blob.span(chunk)
    return offset, offset + length


@given(blobs, st.integers(0, 2))
def test_a_blob_that_does_not_match_is_fetched_anew_until_the_culprit_is_known(
    shapes: list[tuple[int, int, bool]], mixed: int
) -> None:
    """Of several givers none is blamed; after that only one source gives bytes, and it can be."""
    size, chunk_bytes, _ = shapes[0]
    blob = BlobRanges(size + 1, chunk_bytes, verified_by_chunk=False)
    for chunk in range(blob.count):
        source = SOURCES[min(chunk, mixed)]
        blob.leave(SOURCES[max(0, min(chunk, mixed) - 1)])
        blob.ask(chunk, source, 0.0)
        assert blob.arrived(chunk, source)
    givers = set(blob.givers)
    culprit = blob.mismatched()
    assert culprit == (next(iter(givers)) if len(givers) == 1 else None)
    assert blob.contiguous_bytes == 0
    blob.ask(0, "a", 0.0)
    assert blob.arrived(0, "a")
    if blob.count > 1:
        assert blob.leave("a")  # what it gave goes with it
        assert not any(blob.there)


def test_ranges_are_asked_in_layer_order() -> None:
    layers = [BlobRanges(30, 10, True), BlobRanges(20, 10, True)]
    order = []
    for number in range(5):
        found = pick(layers, SOURCES[number % 3], 0.0)
        assert found is not None
        layers[found[0]].ask(found[1], SOURCES[number % 3], 0.0)
        order.append(found)
    assert order == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


def test_a_slow_range_is_asked_a_second_time_only_when_nothing_else_is_left() -> None:
    blob = BlobRanges(30, 10, True)
    blob.ask(0, "a", 0.0)
    assert pick([blob], "b", 100.0) == (0, 1)
    blob.ask(1, "b", 100.0)
    blob.ask(2, "b", 100.0)
    assert pick([blob], "c", 100.1) == (0, 0)
    blob.ask(0, "c", 100.1)
    assert pick([blob], "d", 100.1) is None
    assert blob.arrived(0, "c")
    assert not blob.arrived(0, "a")


def test_a_source_is_not_asked_for_what_it_lacks() -> None:
    layers = [BlobRanges(30, 10, True), BlobRanges(20, 10, True)]
    assert pick(layers, "a", 0.0, frozenset({0})) == (1, 0)
    assert pick(layers, "a", 0.0, frozenset({0, 1})) is None


def test_a_blob_without_chunk_hashes_comes_from_one_source_at_a_time() -> None:
    blob = BlobRanges(30, 10, verified_by_chunk=False)
    blob.ask(0, "a", 0.0)
    assert pick([blob], "b", 100.0) is None
    assert pick([blob], "a", 100.0) == (0, 1)
    blob.leave("a")
    assert pick([blob], "b", 100.0) == (0, 0)
