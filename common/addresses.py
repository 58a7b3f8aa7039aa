"""Addresses as people type them and as servers are told to listen on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from common.errors import BadInput

# A server that listens there answers on every address of its machine.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
# Where the portal answers unless its operator chose otherwise.
PORTAL_PORT = 8080
_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Whether an address or name stays on this machine."""
    if host in ("localhost", "") or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_everywhere(host: str) -> bool:
    """Whether a server that listens on `host` listens on every address of its machine."""
    return host in _EVERYWHERE


def from_here(host: str) -> str:
    """Where a server that listens on `host` is reached from its own machine."""
    return _EVERYWHERE.get(host, host)


def bracketed(host: str) -> str:
    """A name or address as it stands in a URL (RFC 3986, section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True)
class MasterAddress:
    """Where a master's portal answers."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, text: str, *, field: str) -> MasterAddress:
        """`https://host:port`, `host:port` or `host`; raises BadInput that names `field`.

        Only loopback may go without TLS. A scheme that was typed brings its own port; a bare name means the
        portal's usual one.
        """
        parts = urlsplit(text if "://" in text else f"//{text}")
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("", *_PORTS) or parts.path not in ("", "/"):
            raise BadInput(
                f"{text!r} is not the address of a master.", field=field, remedy="Write https://HOST:PORT."
            )
        tls = parts.scheme == "https" or (not parts.scheme and not is_loopback(host))
        if not tls and not is_loopback(host):
            raise BadInput(
                f"A master at {host} is only reached with TLS.", field=field, remedy="Write https://…"
            )
        return cls(host, port or _PORTS.get(parts.scheme, PORTAL_PORT), tls)

    @property
    def url(self) -> str:
        """The address as the start of a URL."""
        return f"{'https' if self.tls else 'http'}://{bracketed(self.host)}:{self.port}"
