"""What the gateway's own pages of a way of access are made of: one request of a session that may ask it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from common.access import Way
from common.errors import Forbidden
from common.words import SessionMode
from workers.box.config import BoxConfig, BoxPaths
from workers.box.front import Exchange
from workers.box.table import Table
from workers.compute.instances import InstanceRow
from workers.gateway import assets
from workers.gateway.connections import Connections
from workers.gateway.cookies import Session

if TYPE_CHECKING:  # only a front that serves a session pays for it
    from workers.gateway.websocket import WebSocket

PAGES = Path(__file__).with_name("pages")
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    # Scripts make their styles at run time; nothing else may come from anywhere but this origin.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Host:
    """What a way's server gets when the front makes it."""

    config: BoxConfig
    paths: BoxPaths
    table: Table
    connections: Connections


@dataclass(frozen=True)
class Visit:
    """A request below `/_openraas/<way>/` by a session that may use this way; `path` is what follows."""

    exchange: Exchange
    session: Session
    row: InstanceRow
    way: Way
    path: str
    connections: Connections

    @property
    def may_control(self) -> bool:
        """Whether input of this session reaches the instance."""
        return self.session.mode is SessionMode.CONTROL

    def need_control(self) -> None:
        """Raises Forbidden for a session that only looks on."""
        if not self.may_control:
            raise Forbidden(
                "This session only watches.", remedy="Ask its owner for an invitation to take control."
            )

    def page(self, name: str, *packages: str) -> None:
        """Answer with one of the files in `pages/`; raises Unavailable while one of its packages is missing."""
        for package in packages:
            assets.need(package)
        self.exchange.answer(200, (PAGES / name).read_bytes(), headers=HEADERS)

    def json(self, value: object, status: int = 200) -> None:
        """Answer with a value as JSON."""
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        self.exchange.answer(status, json.dumps(value).encode(), headers=headers)

    @contextmanager
    def websocket(self, *, most_bytes: int | None = None) -> Iterator[WebSocket]:
        """Take up the WebSocket that the browser asks for; it is closed at the end of the block, and as soon as
        the session may not go on. Raises BadInput if the request is none."""
        from workers.gateway.websocket import MESSAGE_BYTES, WebSocket

        with self.connected(WebSocket(self.exchange, most_bytes=most_bytes or MESSAGE_BYTES)) as socket:
            yield socket

    @contextmanager
    def connected(self, socket: WebSocket) -> Iterator[WebSocket]:
        """The same for one that is open already."""
        with self.connections.opened(self.session, socket.close):
            try:
                yield socket
            finally:
                socket.close()


class WayServer(Protocol):
    """What answers below `/_openraas/<way>/`: one object per front process, many threads."""

    def __init__(self, host: Host) -> None: ...

    def handle(self, visit: Visit) -> None:
        """Answer the request, or raise an OpenRaaSError."""
