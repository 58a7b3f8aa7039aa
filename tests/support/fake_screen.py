"""A screen's server that tests write themselves: the handshake, and then whatever they play."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from workers.gateway.desktop import rfb
from workers.gateway.desktop.des import encrypt

PASSWORD, CHALLENGE = "secret12", bytes(range(16))
LIMIT_S = 10.0


@contextmanager
def server(play: Callable[[socket.socket], None], times: int = 1) -> Iterator[tuple[str, int]]:
    """A screen that plays its part so many times, one connection after the other."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        for _ in range(times):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(LIMIT_S)
                play(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        # Closing alone does not wake who accepts.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(LIMIT_S)


def let_in(connection: socket.socket, passwords: Sequence[str] = (PASSWORD,)) -> str | None:
    """The server's side of the handshake; gives the password that was used, if it was one of these."""
    read = rfb.reader(connection)
    connection.sendall(rfb.VERSION)
    assert read(12) == rfb.VERSION
    connection.sendall(bytes((2, 1, 2)))
    assert read(1) == b"\x02"
    connection.sendall(CHALLENGE)
    answer = read(16)
    for password in passwords:
        if answer == encrypt(password.encode(), CHALLENGE):
            connection.sendall(rfb.OK)
            return password
    reason = b"wrong password"
    connection.sendall(struct.pack(">II", 1, len(reason)) + reason)
    return None


def show(connection: socket.socket, *updates: bytes, passwords: Sequence[str] = (PASSWORD,)) -> None:
    """A screen of 4 by 2 that answers each request with the next of these updates."""
    assert let_in(connection, passwords)
    read = rfb.reader(connection)
    assert read(1) == b"\x01"
    connection.sendall(struct.pack(">HH16xI4s", 4, 2, 4, b"name"))
    read(20 + 4 + 8)
    for update in updates:
        read(10)
        connection.sendall(update)


def raw(x: int, y: int, width: int, height: int, pixel: bytes) -> bytes:
    """A rectangle of one colour."""
    return struct.pack(">HHHHi", x, y, width, height, 0) + pixel * width * height


def update_of(*rectangles: bytes) -> bytes:
    """An update with these rectangles."""
    return b"\0\0" + struct.pack(">H", len(rectangles)) + b"".join(rectangles)
