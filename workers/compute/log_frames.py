"""The form in which an engine sends the output of a container without a terminal. Pure.

Both outputs share one stream of frames: a header of 8 bytes (which output, three zeros, the length as a big-endian
32-bit number), then so many bytes (Docker Engine API, "Attach to a container", "Stream format").
"""

from __future__ import annotations

from workers.compute.errors import EngineError

HEADER_BYTES = 8
OUTPUTS = range(4)  # input, output, errors, the engine's own errors


class Frames:
    """Takes the stream in pieces of any size."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """What the container printed in this piece. Raises EngineError if it is no such stream."""
        printed = bytearray()
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                printed += piece
                self._left -= len(piece)
                at += len(piece)
                continue
            missing = HEADER_BYTES - len(self._header)
            self._header += data[at : at + missing]
            at += missing
            if len(self._header) == HEADER_BYTES:
                self._left = _length(self._header)
                self._header.clear()
        return bytes(printed)


def _length(header: bytes | bytearray) -> int:
    if header[0] not in OUTPUTS or any(header[1:4]):
        raise EngineError("The engine sent the container's output in an unknown form.")
    return int.from_bytes(header[4:], "big")
