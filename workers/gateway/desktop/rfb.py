"""The remote framebuffer protocol (RFC 6143) as far as a gateway has to speak it.

To the server it is a client that knows a password; to the browser a server that asks for none. What follows the
handshake passes unread.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from common.errors import Unavailable
from workers.gateway.desktop.des import encrypt

VERSION = b"RFB 003.008\n"
NONE, VNC_AUTHENTICATION = 1, 2  # security types (section 7.1.2)
OK = b"\0\0\0\0"
CHALLENGE_BYTES = 16
# Until somebody is let in, and until a picture is there: a container may send as slowly as it likes.
CONNECT_S, PICTURE_S = 5.0, 5.0
# What a container says of its screen is believed up to here; 16 million pixels are 64 MiB.
MOST_PIXELS, MOST_TEXT_BYTES = 2**24, 2**20
_MOST_REASON_BYTES = 1000

# Messages of the client (section 7.5)
_SET_PIXEL_FORMAT, _SET_ENCODINGS, _UPDATE_REQUEST = 0, 2, 3
_RAW, _NEW_SIZE = 0, -223
# Somebody may be drawing at the window's edge while a picture is taken.
MOST_SIZES = 5
# 32 bits, little-endian, true colour; red, green and blue in the three low bytes.
_PIXELS = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 0, 8, 16)
PIXEL_BYTES = 4

Read = Callable[[int], bytes]
Write = Callable[[bytes], None]


class ScreenError(Unavailable):
    """The server of a screen does not answer as one."""


@dataclass(frozen=True)
class Picture:
    """A screen as it was: rows from the top, four bytes (red, green, blue, unused) for each pixel."""

    width: int
    height: int
    pixels: bytes


def connect(address: tuple[str, int], password: str) -> socket.socket:
    """A connection to a screen's server that has let the password in; the next thing it wants is ClientInit.

    Raises ScreenError.
    """
    try:
        connection = socket.create_connection(address, CONNECT_S)
    except OSError as error:
        raise ScreenError(f"The screen does not answer: {error}.") from error
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _enter(reader(connection, CONNECT_S), connection.sendall, password)
    except (OSError, struct.error) as error:
        connection.close()
        raise ScreenError(f"The screen broke off before it let anybody in: {error}.") from error
    except ScreenError:
        connection.close()
        raise
    return connection


def reader(connection: socket.socket, limit_s: float | None = None) -> Read:
    """Reads exactly as many bytes as it is asked for; raises ScreenError at the end of the stream.

    With a limit all that it reads has to come within that time from now.
    """
    end = time.monotonic() + limit_s if limit_s is not None else None

    def read(count: int) -> bytes:
        found = bytearray(count)
        view, at = memoryview(found), 0
        while at < count:
            if end is not None:
                if (left := end - time.monotonic()) <= 0:
                    raise ScreenError("The screen is too slow.")
                connection.settimeout(left)
            got = connection.recv_into(view[at:])
            if not got:
                raise ScreenError("The screen closed the connection.")
            at += got
        return bytes(found)

    return read


def _enter(read: Read, write: Write, password: str) -> None:
    """The client's side of the handshake (sections 7.1.1 to 7.1.3)."""
    if not read(len(VERSION)).startswith(b"RFB 003.008"):
        raise ScreenError("The port does not speak RFB 3.8.", remedy="Serve the screen with TigerVNC.")
    write(VERSION)
    count = read(1)[0]
    if count == 0:
        raise ScreenError(f"The screen lets nobody in: {_reason(read)}")
    if VNC_AUTHENTICATION not in read(count):
        raise ScreenError(
            "The screen does not ask for the password that the box has made.",
            remedy="Start its server with -SecurityTypes VncAuth -rfbauth /run/openraas/vnc-passwords.",
        )
    write(bytes((VNC_AUTHENTICATION,)))
    write(encrypt(password.encode(), read(CHALLENGE_BYTES)))
    if read(len(OK)) != OK:
        raise ScreenError(f"The screen did not take the box's password: {_reason(read)}")


def _reason(read: Read) -> str:
    (length,) = struct.unpack(">I", read(4))
    return read(min(length, _MOST_REASON_BYTES)).decode(errors="replace")


def welcome(read: Read, write: Write) -> None:
    """The server's side of the handshake towards a browser that the gateway has let in already.

    Raises ScreenError for a client that does not speak the protocol.
    """
    write(VERSION)
    if not read(len(VERSION)).startswith(b"RFB 003.00"):
        raise ScreenError("The browser does not speak RFB.")
    write(bytes((1, NONE)))
    if read(1)[0] != NONE:
        raise ScreenError("The browser asks for a security type that was not offered.")
    write(OK)


def take_picture(connection: socket.socket) -> Picture:
    """What the screen shows now, over a connection that has just been let in. Raises ScreenError, OSError."""
    read = reader(connection, PICTURE_S)
    connection.sendall(b"\1")  # leave others connected (section 7.3.1)
    size = struct.unpack(">HH16x", read(20))
    _skip_text(read, struct.unpack(">I", read(4))[0])
    connection.sendall(
        struct.pack(">B3x", _SET_PIXEL_FORMAT)
        + _PIXELS
        + struct.pack(">BxHii", _SET_ENCODINGS, 2, _RAW, _NEW_SIZE)
    )
    for _ in range(MOST_SIZES):
        connection.sendall(struct.pack(">BBHHHH", _UPDATE_REQUEST, 0, 0, 0, *size))
        while (kind := read(1)[0]) != 0:
            _skip(read, kind)
        found = _update(read, *size)
        if isinstance(found, Picture):
            return found
        size = found
    raise ScreenError("The screen changes its size all the time.")


def _update(read: Read, width: int, height: int) -> Picture | tuple[int, int]:
    """The picture in an update of the whole screen, or the screen's new size."""
    if width * height > MOST_PIXELS:
        raise ScreenError(f"A screen of {width} by {height} is too large for a small picture.")
    (count,) = struct.unpack(">xH", read(3))
    canvas = bytearray(width * height * PIXEL_BYTES)
    for _ in range(count):
        x, y, across, down, encoding = struct.unpack(">HHHHi", read(12))
        if encoding == _NEW_SIZE:
            return across, down  # always the last of its update (section 7.8.2)
        if encoding != _RAW:
            raise ScreenError(f"The screen answered in an encoding that was not asked for ({encoding}).")
        if x + across > width or y + down > height:
            raise ScreenError("The screen sent more than it shows.")
        row = across * PIXEL_BYTES
        pixels = read(row * down)
        for line in range(down):
            at = ((y + line) * width + x) * PIXEL_BYTES
            canvas[at : at + row] = pixels[line * row : (line + 1) * row]
    return Picture(width, height, bytes(canvas))


def _skip(read: Read, kind: int) -> None:
    """Messages of the server besides updates (section 7.6): colours, bell, clipboard."""
    if kind == 1:
        (colours,) = struct.unpack(">3xH", read(5))
        read(colours * 6)
    elif kind == 3:
        _skip_text(read, struct.unpack(">3xI", read(7))[0])
    elif kind != 2:
        raise ScreenError(f"The screen sent a message of an unknown kind ({kind}).")


def _skip_text(read: Read, length: int) -> None:
    if length > MOST_TEXT_BYTES:
        raise ScreenError(f"The screen sent a text of {length} bytes.")
    read(length)
