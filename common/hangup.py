"""Ends a connection that one reads from when whoever one reads for goes away.

A stream that is silent writes nothing, so only the closed connection tells that nobody listens any more.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from types import TracebackType
from typing import Self

# Probes after 5 s of silence, every 2 s, three of them: a peer that vanished is noticed within seconds.
KEEP_ALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}


def keep_alive(connection: socket.socket) -> None:
    """Let a TCP connection end when its peer vanishes while both are silent."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEP_ALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


class HangUp:
    """While it is open, `source` is shut down once `listener` hangs up or `limit_s` is over.

    A read that waits on `source` then ends as if the other side had closed it. Use as a context manager.
    """

    def __init__(self, source: socket.socket, listener: socket.socket | None, *, limit_s: float) -> None:
        self._source = source
        self._listener = listener
        self._end = time.monotonic() + limit_s
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._watch, name="hang-up", daemon=True)
        self.happened = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake.close()
        self._thread.join()
        self._woken.close()

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if self._listener is not None:
            # POLLRDHUP alone: what else the listener sends is not ours to read, and with TLS not to be looked at.
            poll.register(self._listener, select.POLLRDHUP)
        events = poll.poll(max(0.0, self._end - time.monotonic()) * 1000)
        if any(number == self._woken.fileno() for number, _ in events):
            return
        self.happened = True
        with contextlib.suppress(OSError):  # it ended by itself at the same moment
            # The plain method: that of a TLS socket would forget its keys under the reader's feet.
            socket.socket.shutdown(self._source, socket.SHUT_RDWR)
