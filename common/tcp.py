"""What the kernel knows of a connection's round trip: more exact than any clock around a call."""

from __future__ import annotations

import socket
import struct

# struct tcp_info of linux/tcp.h: microseconds, where the kernel has measured any.
_RTT, _MIN_RTT = 68, 148
_UNKNOWN = 2**32 - 1
_SIZE = 256


def round_trip_ms(connection: socket.socket) -> float | None:
    """The shortest round trip that a TCP connection has seen, in milliseconds (tcp(7), TCP_INFO).

    None where there is none: on another kind of socket, or one that is closed.
    """
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except OSError:
        return None
    for offset in (_MIN_RTT, _RTT):
        if len(info) >= offset + 4:
            microseconds: int = struct.unpack_from("=I", info, offset)[0]
            if 0 < microseconds < _UNKNOWN:
                return microseconds / 1000
    return None
