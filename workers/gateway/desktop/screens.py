"""The screens of a box, reached with the passwords that it has made for them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import Unavailable
from common.words import SessionMode
from workers.compute.handed import Handed
from workers.compute.instances import InstanceRow
from workers.gateway.desktop import rfb, thumbnail
from workers.gateway.desktop.passwords import FILE, Passwords

# However many look at a screen's small picture, it is taken at most so often.
PICTURE_S = 2.0
# Who waits for one that others are taking gives up after so long.
WAIT_S = 15.0
TRIES = 3
# A large screen is some tens of megabytes while it is made small.
PICTURES_AT_ONCE = 2
# Pictures that nobody asked for any more are forgotten beyond so many.
MOST_PICTURES = 64


@dataclass
class _Small:
    """The last small picture of one start of an instance."""

    taken: threading.Lock = field(default_factory=threading.Lock)
    at: float = float("-inf")
    png: bytes = b""


class Screens:
    """All of one box; safe for many threads."""

    def __init__(self, state_dir: Path) -> None:
        self._handed = Handed(state_dir)
        self._small: dict[tuple[str, int], _Small] = {}
        self._changing = threading.Lock()
        self._room = threading.BoundedSemaphore(PICTURES_AT_ONCE)

    def connect(self, row: InstanceRow, mode: SessionMode) -> socket.socket:
        """A connection to the screen that may do what the mode says; ClientInit comes next.

        Raises ScreenError, Unavailable, NotFound.
        """
        if row.address is None or row.port is None:
            raise Unavailable("This screen has no address yet.", remedy="Try again in a moment.")
        passwords = Passwords.read(self._handed.of(row.instance, row.generation) / FILE)
        return rfb.connect((row.address, row.port), passwords.of(mode))

    def small_picture(self, row: InstanceRow) -> bytes:
        """What the screen shows, as a small PNG of the last seconds. Raises ScreenError, Unavailable, NotFound."""
        entry = self._entry((row.instance, row.generation))
        with _within(entry.taken):
            if time.monotonic() - entry.at > PICTURE_S:
                with _within(self._room):
                    entry.png = self._take(row)
                entry.at = time.monotonic()
            return entry.png

    def _entry(self, key: tuple[str, int]) -> _Small:
        with self._changing:
            while len(self._small) >= MOST_PICTURES and key not in self._small:
                self._small.pop(min(self._small, key=lambda known: self._small[known].at))
            return self._small.setdefault(key, _Small())

    def _take(self, row: InstanceRow) -> bytes:
        return thumbnail.png(thumbnail.shrink(whole_picture(lambda: self.connect(row, SessionMode.WATCH))))


@contextmanager
def _within(taken: threading.Lock | threading.Semaphore) -> Iterator[None]:
    """Have it, within `WAIT_S`. Raises Unavailable."""
    if not taken.acquire(timeout=WAIT_S):
        raise Unavailable("This box is busy with other pictures.", remedy="Try again in a moment.")
    try:
        yield
    finally:
        taken.release()


def whole_picture(connect: Callable[[], socket.socket]) -> rfb.Picture:
    """What a screen shows now. Raises ScreenError, and what `connect` raises.

    A server that changes its size before it was told that this is understood ends the connection; then it is asked
    again.
    """
    for left in reversed(range(TRIES)):
        connection = connect()
        try:
            return rfb.take_picture(connection)
        except (rfb.ScreenError, OSError) as error:
            if not left:
                raise rfb.ScreenError(f"The screen gave no picture: {error}.") from error
        finally:
            connection.close()
    raise rfb.ScreenError("The screen gave no picture.")
