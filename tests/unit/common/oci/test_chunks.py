"""Chunk lists describe a blob chunk by chunk."""

from __future__ import annotations

import hashlib
import io

from hypothesis import given
from hypothesis import strategies as st

from common.oci.chunks import CHUNK_BYTES, fits, measure


@given(st.binary(max_size=2000), st.integers(1, 300))
def test_measuring_reads_each_byte_once_into_the_whole_and_into_its_chunk(data: bytes, size: int) -> None:
    measured = measure(io.BytesIO(data), size)
    assert measured.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert measured.size_bytes == len(data)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert measured.chunk_list.chunks == [hashlib.sha256(piece).hexdigest() for piece in pieces]
    assert fits(measured.chunk_list, measured.digest, len(data))


def test_a_chunk_has_two_mebibytes() -> None:
    measured = measure(io.BytesIO(bytes(CHUNK_BYTES + 1)))
    assert len(measured.chunk_list.chunks) == 2
    assert measured.chunk_list.chunk_bytes == 2 * 2**20


def test_a_list_of_another_blob_or_of_another_length_does_not_fit() -> None:
    measured = measure(io.BytesIO(bytes(100)), 10)
    other = measure(io.BytesIO(b"x"), 10)
    assert not fits(measured.chunk_list, other.digest, 100)
    assert not fits(measured.chunk_list, measured.digest, 99)
    short = measured.chunk_list.model_copy(update={"chunks": measured.chunk_list.chunks[1:]})
    assert not fits(short, measured.digest, 100)
