"""Small pictures: means of pixels, and a PNG that can be read."""

from __future__ import annotations

import struct
import zlib

from hypothesis import given
from hypothesis import strategies as st

from workers.gateway.desktop.rfb import Picture
from workers.gateway.desktop.thumbnail import png, shrink


def pixels_of(content: bytes) -> tuple[int, int, bytes]:
    """Width, height and RGB rows of a PNG without filters."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    at, data = 8, b""
    while at < len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        body = content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(name + body)
        data += body if name == b"IDAT" else b""
        at += 12 + length
    rows = zlib.decompress(data)
    stride = width * 3 + 1
    return width, height, b"".join(rows[at + 1 : at + stride] for at in range(0, len(rows), stride))


def test_a_png_has_the_colours_of_the_picture() -> None:
    picture = Picture(2, 1, b"\x01\x02\x03\x00\xff\xfe\xfd\x00")
    assert pixels_of(png(picture)) == (2, 1, b"\x01\x02\x03\xff\xfe\xfd")


def test_a_picture_that_is_small_enough_stays_as_it_is() -> None:
    picture = Picture(2, 2, bytes(16))
    assert shrink(picture, 2) is picture


@given(st.integers(3, 9), st.integers(2, 9), st.data())
def test_each_pixel_is_the_mean_of_four_to_within_rounding(
    width: int, height: int, data: st.DataObject
) -> None:
    pixels = data.draw(st.binary(min_size=width * height * 4, max_size=width * height * 4))
    small = shrink(Picture(width, height, pixels), width // 2)
    assert (small.width, small.height) == (width // 2, height // 2)
    for y in range(small.height):
        for x in range(small.width):
            for channel in range(4):
                four = [
                    pixels[((2 * y + down) * width + 2 * x + across) * 4 + channel]
                    for down in (0, 1)
                    for across in (0, 1)
                ]
                assert abs(small.pixels[(y * small.width + x) * 4 + channel] - sum(four) / 4) <= 1
