"""HTTP over a Unix socket, with a limit on every wait: supervisord, the container engine, our own servers."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

# sockaddr_un has room for 108 bytes; servers first make the socket under a longer name and rename it.
MAX_PATH = 92


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to the server behind a Unix socket."""

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Raises OSError if nobody listens there."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answers(path: Path, target: str, *, timeout_s: float = 2.0) -> bool:
    """Whether `GET target` on the socket is answered with 200."""
    connection = UnixConnection(path, timeout_s=timeout_s)
    try:
        connection.request("GET", target)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
