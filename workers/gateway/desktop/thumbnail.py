"""A small picture of a screen, made of nothing but the standard library. Pure.

Averages of whole rows are taken as arithmetic on one long integer: for each byte of two numbers at once,
`(a & b) + ((a ^ b) >> 1)` is their mean, if the bit that would fall into the next byte is masked out.
"""

from __future__ import annotations

import struct
import zlib

from workers.gateway.desktop.rfb import PIXEL_BYTES, Picture

MOST_WIDTH = 400
_LEVEL = 6
_RGB = 2  # PNG's colour type (ISO/IEC 15948, section 11.2.2)


def shrink(picture: Picture, most_width: int = MOST_WIDTH) -> Picture:
    """The picture halved until it is no wider; each pixel is the mean of those that it stands for."""
    while picture.width > most_width and picture.height > 1:
        picture = _halve(picture)
    return picture


def _halve(picture: Picture) -> Picture:
    width, height = picture.width // 2, picture.height // 2
    row = picture.width * PIXEL_BYTES
    lines = [picture.pixels[at * row : (at + 1) * row] for at in range(height * 2)]
    flat = _mean(b"".join(lines[0::2]), b"".join(lines[1::2]))
    rows = [flat[at * row : at * row + width * 2 * PIXEL_BYTES] for at in range(height)]
    pairs = memoryview(b"".join(rows)).cast("I")
    return Picture(width, height, _mean(pairs[0::2].tobytes(), pairs[1::2].tobytes()))


def _mean(first: bytes, second: bytes) -> bytes:
    a, b = int.from_bytes(first, "little"), int.from_bytes(second, "little")
    mask = int.from_bytes(b"\x7f" * len(first), "little")
    return ((a & b) + (((a ^ b) >> 1) & mask)).to_bytes(len(first), "little")


def png(picture: Picture) -> bytes:
    """The picture as a PNG (ISO/IEC 15948) without an alpha channel."""
    count = picture.width * picture.height
    colours = bytearray(count * 3)
    for channel in range(3):
        colours[channel::3] = picture.pixels[channel::PIXEL_BYTES]
    row = picture.width * 3
    # Each row begins with its filter: none.
    data = b"".join(b"\0" + colours[at : at + row] for at in range(0, len(colours), row))
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, _RGB, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(name, body)
        for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(data, _LEVEL)), (b"IEND", b""))
    )


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
