"""A WebSocket on one of the front's plain threads. The protocol is `websockets`' (sans-IO); waiting is done here."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque

from websockets.datastructures import Headers
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from common.errors import BadInput
from workers.box.front import Exchange

RECEIVE_BYTES = 64 * 1024
MESSAGE_BYTES = 2**20
# What a browser does not take within this is not waited for: the connection ends, and it may come again.
SEND_S = 20.0
# Whoever ends it waits at most so long for who sends just now; then the browser is not told why.
CLOSE_S = 1.0
# A silent browser is asked whether it is there, and is gone after so long without a word.
PING_S, SILENCE_S = 20.0, 60.0


class WebSocket:
    """One open connection: one thread receives, any thread may send."""

    def __init__(self, exchange: Exchange, *, most_bytes: int = MESSAGE_BYTES) -> None:
        """Answer the handshake. Raises BadInput for a request that is none (RFC 6455, section 4.2.1)."""
        self._protocol = ServerProtocol(max_size=most_bytes)
        head = Request(exchange.path, Headers(exchange.headers.items()))
        self._protocol.receive_data(head.serialize())
        response = self._protocol.accept(head)
        if response.status_code != 101:
            raise BadInput("This address is for WebSockets.", remedy="Open it from its page.")
        self._protocol.send_response(response)
        self._protocol.events_received()
        self._connection = exchange.upgrade(b"".join(self._protocol.data_to_send()))
        self._connection.settimeout(SEND_S)
        self._sending = threading.Lock()
        self._frames: deque[Frame] = deque()
        self._parts: list[Frame] = []
        self._heard = time.monotonic()
        self._is_over = False

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it."""
        return self._protocol.state is State.OPEN and not self._is_over

    def send(self, message: bytes | str) -> None:
        """One message, binary or text. Raises ConnectionError or TimeoutError when it cannot be given away."""
        with self._sending:
            if not self.is_open:
                raise ConnectionError("the WebSocket is closed")
            if isinstance(message, str):
                self._protocol.send_text(message.encode())
            else:
                self._protocol.send_binary(message)
            self._flush()

    def receive(self) -> bytes | str | None:
        """The next message; none once the other side has closed it, vanished or broken the protocol."""
        while True:
            while self._frames and not self._is_over:
                if (message := self._put_together(self._frames.popleft())) is not None:
                    return message
            if not self.is_open or not self._wait() or not self._take():
                return None

    def close(self, why: str = "", code: int = CloseCode.NORMAL_CLOSURE) -> None:
        """End it from any thread; who receives is woken, and gets nothing more. `why` is cut to what a close frame
        may carry. A browser that takes nothing does not hold up who ends it."""
        self._is_over = True
        if self._sending.acquire(timeout=CLOSE_S):
            try:
                with contextlib.suppress(OSError, ProtocolError):
                    self._say_why(why.encode()[:120].decode(errors="ignore"), code)
            finally:
                self._sending.release()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _say_why(self, why: str, code: int) -> None:
        poll = select.poll()
        poll.register(self._connection, select.POLLOUT)
        if self._protocol.state is State.OPEN and poll.poll(0):
            self._protocol.send_close(code, why)
            self._flush()

    def _wait(self) -> bool:
        """Until something comes; asks the other side when it is silent."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        while not poll.poll(PING_S * 1000):
            if time.monotonic() - self._heard > SILENCE_S:
                return False
            with contextlib.suppress(OSError), self._sending:
                self._protocol.send_ping(b"")
                self._flush()
        self._heard = time.monotonic()
        return True

    def _take(self) -> bool:
        try:
            piece = self._connection.recv(RECEIVE_BYTES)
        except OSError:
            return False
        with self._sending:
            if piece:
                self._protocol.receive_data(piece)
            else:
                self._protocol.receive_eof()
            events = self._protocol.events_received()
            with contextlib.suppress(OSError):
                self._flush()  # a pong, or the answer to a close
        self._frames.extend(event for event in events if isinstance(event, Frame))
        return bool(piece)

    def _put_together(self, frame: Frame) -> bytes | str | None:
        """The whole message, once its last frame is there (RFC 6455, section 5.4)."""
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return None
        self._parts.append(frame)
        if not frame.fin:
            return None
        parts, self._parts = self._parts, []
        whole = b"".join(bytes(part.data) for part in parts)
        return whole.decode(errors="replace") if parts[0].opcode is Opcode.TEXT else whole

    def _flush(self) -> None:
        for piece in self._protocol.data_to_send():
            if piece:
                self._connection.sendall(piece)
