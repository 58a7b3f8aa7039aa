"""TLS between the parts of one installation: trust in its own authorities alone, and boxes known by their names."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

from common.words import Endpoint

_contexts: dict[Path, tuple[int, ssl.SSLContext]] = {}
_lock = threading.Lock()


def trusting(authorities: Path) -> ssl.SSLContext:
    """A context that trusts the certificates in a file, also after the file was written anew.

    Raises OSError (`ssl.SSLError` among them) if the file cannot be used.
    """
    with _lock:
        written_ns = authorities.stat().st_mtime_ns
        known = _contexts.get(authorities)
        if known is None or known[0] != written_ns:
            known = _contexts[authorities] = (written_ns, ssl.create_default_context(cafile=str(authorities)))
        return known[1]


class BoxConnection(http.client.HTTPSConnection):
    """HTTPS to a box. The certificate has to name the box: an address is what a box says of itself."""

    def __init__(self, endpoint: Endpoint, box: str, *, authorities: Path, timeout_s: float) -> None:
        self._trust = trusting(authorities)
        super().__init__(endpoint.host, endpoint.port, timeout=timeout_s, context=self._trust)
        self._box = box

    def connect(self) -> None:
        """Reach it; raises OSError (`ssl.SSLError` among them)."""
        http.client.HTTPConnection.connect(self)
        try:
            self.sock = self.secured(self.sock, self._trust, self._box)
        except BaseException:
            self.close()
            raise

    def secured(self, raw: socket.socket, trust: ssl.SSLContext, box: str) -> Any:
        """TLS over a connection to that box, with what `http.client` uses of a socket."""
        return trust.wrap_socket(raw, server_hostname=box)


def connect_box(
    endpoint: Endpoint, box: str, *, authorities: Path, timeout_s: float
) -> http.client.HTTPConnection:
    """A connection to a box's front, not yet made; without TLS only where the endpoint says so (loopback)."""
    if endpoint.tls:
        return BoxConnection(endpoint, box, authorities=authorities, timeout_s=timeout_s)
    return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)
