"""The process of a file session, inside its sandbox: `python -m workers.filestore.browsing.agent FD VOLUME`.

It runs as the fileset's own uid and sees the home's file system and nothing else of the machine. It answers on the
listening socket that it was given and ends by itself when nobody has asked for a while; whoever gave the socket keeps
it open and starts a new process with the next request, so that none is lost.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from functools import cached_property
from importlib import import_module
from pathlib import Path

from workers.box.front import Exchange, Route, serve_on
from workers.filestore.browsing import ASIDE, DATA
from workers.filestore.browsing.route import FilesRoute

IDLE_S = 120.0
LOOK_S = 5.0
SWEEP_S = 3600.0


class _Busy:
    """Counts requests under way, and knows when the last one ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._ended_at = time.monotonic()

    def __enter__(self) -> None:
        with self._lock:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1
            self._ended_at = time.monotonic()

    def idle_s(self) -> float:
        """How long there has been nothing to do."""
        with self._lock:
            return 0.0 if self._count else time.monotonic() - self._ended_at


class _Dav:
    """WebDAV, whose library is loaded with the first that asks for it: most never do."""

    prefix = "/webdav"

    def __init__(self, volume: Path) -> None:
        self._volume = volume

    @cached_property
    def _route(self) -> Route:
        made: Route = import_module("workers.filestore.browsing.dav").DavRoute(
            self._volume / DATA, self._volume / ASIDE
        )
        return made

    def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        self._route.handle(exchange)


class _Counted:
    """A route whose requests keep the process alive."""

    def __init__(self, route: Route, busy: _Busy) -> None:
        self.prefix = route.prefix
        self._route = route
        self._busy = busy

    def handle(self, exchange: Exchange) -> None:
        """Answer, and count."""
        with self._busy:
            self._route.handle(exchange)


def main(arguments: list[str]) -> None:
    """Serve until nobody asks any more."""
    listener = socket.socket(fileno=int(arguments[0]))
    volume = Path(arguments[1])
    os.umask(0o022)
    busy = _Busy()
    files = FilesRoute(
        os.open(volume / DATA, os.O_PATH | os.O_DIRECTORY),
        os.open(volume / ASIDE, os.O_RDONLY | os.O_DIRECTORY),
    )
    server = serve_on(listener, [_Counted(files, busy), _Counted(_Dav(volume), busy)])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    swept_at = -SWEEP_S
    while busy.idle_s() < IDLE_S:
        if time.monotonic() - swept_at > SWEEP_S:
            files.sweep()
            swept_at = time.monotonic()
        time.sleep(LOOK_S)
    server.shutdown()  # takes no more; what came in this moment waits in the socket for the next process
    while busy.idle_s() == 0.0:
        time.sleep(LOOK_S)


if __name__ == "__main__":
    main(sys.argv[1:])
