"""What a shell printed of late, by its place in all that it ever printed. Pure."""

from __future__ import annotations

SCROLLBACK_BYTES = 256 * 1024


class Scrollback:
    """The last bytes of a stream; `begin` and `end` are places in the whole of it."""

    def __init__(self, most_bytes: int = SCROLLBACK_BYTES) -> None:
        self._most = most_bytes
        self._kept = bytearray()
        self.begin = 0

    @property
    def end(self) -> int:
        """The place behind the last byte."""
        return self.begin + len(self._kept)

    def add(self, piece: bytes) -> None:
        """Take what comes next. What is dropped ends with a line if there is one, so that a replay starts clean."""
        self._kept += piece
        surplus = len(self._kept) - self._most
        if surplus > 0:
            line = self._kept.find(b"\n", surplus, surplus + self._most // 4)
            surplus = line + 1 if line >= 0 else surplus
            del self._kept[:surplus]
            self.begin += surplus

    def read(self, place: int, most_bytes: int) -> bytes:
        """What follows `place`, which lies between `begin` and `end`."""
        start = place - self.begin
        return bytes(self._kept[start : start + most_bytes])
