"""A WebSocket of the gateway, at the ends that a browser need not behave at."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.box.front import Exchange, make_server
from workers.gateway import websocket
from workers.gateway.websocket import WebSocket

LIMIT_S = 10.0
HANDSHAKE = (
    b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
# A text message "a", masked with zeros (RFC 6455, section 5.2).
TYPED = b"\x81\x81\0\0\0\0a"


class Opened:
    """A route that gives its WebSocket to the test and keeps it open until the test is over."""

    prefix = "/"

    def __init__(self) -> None:
        self.socket: WebSocket | None = None
        self.is_there, self.may_end = threading.Event(), threading.Event()

    def handle(self, exchange: Exchange) -> None:
        self.socket = WebSocket(exchange)
        self.is_there.set()
        self.may_end.wait(LIMIT_S)


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[WebSocket, socket.socket]]:
    """The box's end, and the browser's."""
    route = Opened()
    server = make_server(tmp_path / "front", [route])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with socket.socket(socket.AF_UNIX) as browser:
        browser.settimeout(LIMIT_S)
        browser.connect(str(tmp_path / "front"))
        browser.sendall(HANDSHAKE)
        assert browser.recv(4096).startswith(b"HTTP/1.1 101")
        assert route.is_there.wait(LIMIT_S)
        assert route.socket is not None
        try:
            yield route.socket, browser
        finally:
            route.may_end.set()
            server.shutdown()
            server.server_close()


def test_a_browser_that_takes_nothing_is_cut_off_at_once_when_its_session_ends(
    ends: tuple[WebSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = ends
    monkeypatch.setattr(websocket, "CLOSE_S", 0.1)
    ours._connection.settimeout(10 * LIMIT_S)  # as long as sending is tried
    sending = threading.Thread(target=_fill, args=(ours,), daemon=True)
    sending.start()
    closing = threading.Thread(target=ours.close, args=("share-ended",), daemon=True)
    closing.start()
    for thread in (closing, sending):
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def test_what_was_typed_before_the_end_of_a_session_is_not_read_after_it(
    ends: tuple[WebSocket, socket.socket],
) -> None:
    ours, browser = ends
    browser.sendall(TYPED * 3)
    assert ours.receive() == "a"
    ours.close("share-ended")
    assert ours.receive() is None
    assert b"share-ended" in browser.recv(4096)


def _fill(ours: WebSocket) -> None:
    try:
        while True:
            ours.send(bytes(64 * 1024))
    except OSError:
        return
