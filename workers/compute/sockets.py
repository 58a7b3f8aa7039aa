"""Where container engines listen, and a plain connection there; the front process uses it without their SDKs."""

from __future__ import annotations

import http.client
import os
from pathlib import Path
from urllib.parse import urlsplit

from common.unix_http import UnixConnection


def usual_sockets() -> list[str]:
    """Where engines listen when nobody says otherwise."""
    own = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}"))
    places = [Path("/var/run/docker.sock"), Path("/run/podman/podman.sock")]
    if os.geteuid() != 0:
        places += [own / "docker.sock", own / "podman/podman.sock"]
    return [f"unix://{place}" for place in places]


def connect(url: str, *, timeout_s: float) -> http.client.HTTPConnection:
    """A connection of its own to the engine at `unix://…`, `tcp://…` or `http://…`."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return UnixConnection(Path(parts.path), timeout_s=timeout_s)
    return http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 2375, timeout=timeout_s)
