"""Holds every packet on its way to a node for a while: a long road, also where the kernel has no `netem`.

The router sends what is for the node into a TUN device; this program reads the packets there, and writes each back
when its time has come, for the router to carry on. It runs in the router's network namespace but ends with the node.
Imports nothing but the standard library.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

TUN = "/dev/net/tun"
# linux/if_tun.h: make a device of whole IP packets, without a header of its own.
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
# No larger packet comes from a device with the usual MTU; a router far away drops what is more than a queue holds.
_PACKET_BYTES, _QUEUE_PACKETS = 65536, 20_000


def open_device(name: str) -> int:
    """A new TUN device of this name, as a file that does not wait; it goes when the file is closed."""
    device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


def carry(device: int, delay_s: float) -> None:
    """Give every packet back `delay_s` after it came, for ever."""
    held: deque[tuple[float, bytes]] = deque()
    poller = select.epoll()
    poller.register(device, select.EPOLLIN)
    while True:
        poller.poll(max(0.0, held[0][0] - time.monotonic()) if held else None)
        now = time.monotonic()
        while (packet := _read(device)) is not None:
            if len(held) < _QUEUE_PACKETS:
                held.append((now + delay_s, packet))
        while held and held[0][0] <= time.monotonic():
            _write(device, held.popleft()[1])


def _read(device: int) -> bytes | None:
    try:
        return os.read(device, _PACKET_BYTES)
    except BlockingIOError:
        return None


def _write(device: int, packet: bytes) -> None:
    try:
        os.write(device, packet)
    except OSError as error:  # as on any road, what cannot be carried on is lost: the device is down, or full
        print(f"a packet was lost: {error}", file=sys.stderr, flush=True)


def main() -> None:
    """`delay.py DEVICE SECONDS`"""
    name, delay_s = sys.argv[1], float(sys.argv[2])
    carry(open_device(name), delay_s)


if __name__ == "__main__":
    main()
