"""What an engine sends is taken apart rightly, however the network cuts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.compute.errors import EngineError
from workers.compute.log_frames import HEADER_BYTES, Frames

printed = st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.binary(max_size=200)), max_size=20)


def framed(parts: list[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes([kind, 0, 0, 0]) + len(text).to_bytes(4, "big") + text for kind, text in parts)


@given(parts=printed, cuts=st.lists(st.integers(0, 5000), max_size=30))
def test_everything_comes_out_in_order_wherever_the_stream_is_cut(
    parts: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    stream = framed(parts)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    frames = Frames()
    out = b"".join(
        frames.feed(stream[begin:end]) for begin, end in zip(places, places[1:] or places, strict=False)
    )
    assert out == b"".join(text for _, text in parts)


@given(text=st.binary(min_size=1, max_size=100))
def test_the_beginning_of_a_long_line_does_not_wait_for_its_end(text: bytes) -> None:
    stream = bytes([1, 0, 0, 0]) + (2**20).to_bytes(4, "big") + text
    assert Frames().feed(stream) == text


@given(header=st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
def test_a_stream_of_another_form_is_refused(header: bytes) -> None:
    if header[0] < 4 and header[1:4] == bytes(3):
        return
    with pytest.raises(EngineError):
        Frames().feed(header)
