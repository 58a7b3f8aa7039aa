"""Between a browser's WebSocket and the server of a screen: two threads that pass on what comes, unread.

It runs in the box's front process: a bridge of its own in each container costs more memory than the X server's whole
connection, and one more hop.
"""

from __future__ import annotations

import contextlib
import socket
import threading

from workers.gateway.desktop import rfb
from workers.gateway.visit import Visit
from workers.gateway.websocket import WebSocket

PIECE_BYTES = 128 * 1024
# A screen that does not take a key press within this has hung.
SEND_S = 20.0


def run(visit: Visit, screen: socket.socket) -> None:
    """Pass on until one side ends it. `screen` has been let in, and is closed afterwards."""
    try:
        with visit.websocket() as browser:
            source = _Messages(browser)
            try:
                rfb.welcome(source.read, browser.send)
            except rfb.ScreenError as error:
                browser.close(str(error))
                return
            _pass_on(browser, source, screen)
    finally:
        screen.close()


def _pass_on(browser: WebSocket, source: _Messages, screen: socket.socket) -> None:
    screen.settimeout(SEND_S)
    pictures = threading.Thread(target=_pictures, args=(screen, browser), name="screen", daemon=True)
    pictures.start()
    try:
        with contextlib.suppress(OSError):
            screen.sendall(source.rest())
            while (message := browser.receive()) is not None:
                screen.sendall(message.encode() if isinstance(message, str) else message)
    finally:
        # Wakes the other thread; both are gone before the connections are closed.
        with contextlib.suppress(OSError):
            screen.shutdown(socket.SHUT_RDWR)
        pictures.join()


def _pictures(screen: socket.socket, browser: WebSocket) -> None:
    """What the screen sends; a screen that shows nothing new is silent for as long as it likes."""
    with contextlib.suppress(OSError):
        while True:
            try:
                piece = screen.recv(PIECE_BYTES)
            except TimeoutError:
                continue
            if not piece:
                break
            browser.send(piece)
    browser.close("The screen has closed the connection.")


class _Messages:
    """The browser's messages as a stream of bytes: where one ends means nothing to RFB."""

    def __init__(self, browser: WebSocket) -> None:
        self._browser = browser
        self._left = b""

    def read(self, count: int) -> bytes:
        """Exactly so many bytes; raises ScreenError when the browser has gone."""
        while len(self._left) < count:
            message = self._browser.receive()
            if message is None:
                raise rfb.ScreenError("The browser has closed the connection.")
            self._left += message.encode() if isinstance(message, str) else message
        found, self._left = self._left[:count], self._left[count:]
        return found

    def rest(self) -> bytes:
        """What came and was not read."""
        found, self._left = self._left, b""
        return found
