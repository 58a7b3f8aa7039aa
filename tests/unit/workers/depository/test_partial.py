"""What is hashed while it arrives is what was sent, in whatever order it came."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.oci.store import ContentStore
from workers.depository.partial import Partial

CHUNK_BYTES = 1000
BLOB = bytes(number * 37 % 251 for number in range(17 * CHUNK_BYTES + 300))
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
CHUNKS = [BLOB[start : start + CHUNK_BYTES] for start in range(0, len(BLOB), CHUNK_BYTES)]
HASHES = [hashlib.sha256(chunk).hexdigest() for chunk in CHUNKS]


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path)


def partial_of(store: ContentStore) -> Partial:
    return Partial(store, DIGEST, len(BLOB), CHUNK_BYTES)


def write(partial: Partial, chunk: int) -> None:
    partial.write(chunk, memoryview(CHUNKS[chunk]))


@given(order=st.permutations(range(len(CHUNKS))), again=st.lists(st.integers(0, len(CHUNKS) - 1), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_order_in_which_chunks_come_does_not_matter(
    store: ContentStore, order: list[int], again: list[int]
) -> None:
    partial = partial_of(store)
    for chunk in [*order[:9], *again, *order[9:]]:
        write(partial, chunk)
    assert f"sha256:{partial.sha256()}" == DIGEST
    partial.discard()


def test_several_threads_may_write_at_the_same_time(store: ContentStore) -> None:
    partial = partial_of(store)
    begin = threading.Barrier(4)

    def work(number: int) -> None:
        begin.wait(10)
        for chunk in range(number, len(CHUNKS), 4):
            write(partial, chunk)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert f"sha256:{partial.sha256()}" == DIGEST


def test_what_an_earlier_run_left_is_hashed_once_it_was_checked(store: ContentStore) -> None:
    earlier = partial_of(store)
    for chunk in (0, 1, 5, 9):
        write(earlier, chunk)
    with earlier.path.open("r+b") as file:
        file.seek(5 * CHUNK_BYTES)
        file.write(b"spoilt")
    later = partial_of(store)
    assert later.resume(HASHES) == [0, 1, 9]
    for chunk in range(len(CHUNKS)):
        if chunk not in (0, 1, 9):
            write(later, chunk)
    assert f"sha256:{later.sha256()}" == DIGEST


def test_a_blob_that_is_not_all_there_has_another_digest(store: ContentStore) -> None:
    partial = partial_of(store)
    for chunk in range(len(CHUNKS)):
        if chunk != 7:
            write(partial, chunk)
    assert f"sha256:{partial.sha256()}" != DIGEST
