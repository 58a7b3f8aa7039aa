"""The box's own small HTTP server: plain threads behind nginx, and on loopback for the container engine.

nginx speaks TLS, keeps slow clients away and sends files (`X-Accel-Redirect`); this server decides. Plain
threads with `http.server` cost a third of the processor time per gigabyte that an asyncio server does.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from common.errors import OpenRaaSError
from common.logs import get_logger

log = get_logger(__name__)

BUFFER_BYTES = 256 * 1024
# An answer that comes before the end of the request is lost if the connection is closed at once.
LINGER_BYTES, LINGER_S = 64 * 2**20, 5.0
IDLE_S = 75.0
# The first byte of a TLS record that carries a handshake (RFC 8446, section 5.1).
TLS_HANDSHAKE = 0x16
NOT_TLS = b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Exchange:
    """One request and its answer."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler
        parts = urlsplit(handler.path)
        self.method = handler.command
        self.target = handler.path  # as it came, for what reads the path's bytes itself
        self.path = unquote(parts.path)
        self.query = {
            key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()
        }
        self.headers = handler.headers
        self.answered = False
        self._body_left = True

    @property
    def connection(self) -> socket.socket:
        """The asker's end; an answer that goes on for long watches it (`common.hangup`)."""
        connection: socket.socket = self._handler.connection
        return connection

    def body(self) -> Iterable[bytes]:
        """The request's body in pieces, whether it has a length or comes in chunks (RFC 9112, section 7.1)."""
        stream = self._handler.rfile
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            yield from _chunked(stream)
            self._body_left = False
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            piece = stream.read(min(left, BUFFER_BYTES))
            if not piece:
                raise ConnectionError("the client went away in the middle of its request")
            left -= len(piece)
            yield piece
        self._body_left = False

    def answer(
        self,
        status: int,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        """Answer at once. `length` stands in for the body's length (for HEAD)."""
        self.begin(status, len(body) if length is None else length, headers=headers)
        if self.method != "HEAD":
            self._handler.wfile.write(body)

    def begin(self, status: int, length: int | None, *, headers: Mapping[str, str] | None = None) -> None:
        """Send status and headers; `length` bytes are then sent with `send_file`."""
        handler = self._handler
        if self._body_left and self._has_body:
            handler.close_connection = True  # an unread body would be taken for the next request
        self.answered = True
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        if length is None:
            handler.send_header("Transfer-Encoding", "chunked")
        elif status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            handler.send_header("Content-Length", str(length))
        if handler.close_connection:
            handler.send_header("Connection", "close")
        handler.end_headers()

    def stream(
        self, status: int, pieces: Iterable[bytes], *, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with a body whose length is not known before (chunked; RFC 9112, section 7.1).

        An error on the way cuts the connection, so that the client does not take a part for the whole.
        """
        self.begin(status, None, headers=headers)
        for piece in pieces:
            if piece:
                self._handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self._handler.wfile.write(b"0\r\n\r\n")

    def send(self, pieces: Iterable[bytes]) -> None:
        """The body that `begin` gave the length of."""
        for piece in pieces:
            self._handler.wfile.write(piece)

    def upgrade(self, head: bytes) -> socket.socket:
        """Answer with `head` (a status line and headers of 101) and hand the connection over; it ends with the
        exchange (RFC 9110, section 7.8)."""
        self._handler.close_connection = True
        self.answered = True
        self._handler.wfile.flush()
        self.connection.sendall(head)
        return self.connection

    def send_file(self, file: BinaryIO, offset: int, length: int) -> None:
        """Part of a file by `sendfile(2)`, without copying it through this process."""
        self._handler.wfile.flush()
        # The socket has a timeout, so it is not blocking: socket.sendfile waits where os.sendfile gives EAGAIN.
        if length and self._handler.connection.sendfile(file, offset, length) < length:
            raise ConnectionError("the file ended early")

    def linger(self) -> None:
        """After an answer that came early: take what the client still sends, within limits, so that it can read
        the answer. Closing with bytes unread would reset the connection, and nginx then says 502."""
        connection, end, left = self.connection, time.monotonic() + LINGER_S, LINGER_BYTES
        with contextlib.suppress(OSError):
            self._handler.wfile.flush()
            connection.shutdown(socket.SHUT_WR)
            while left > 0 and (time_left := end - time.monotonic()) > 0:
                connection.settimeout(time_left)
                piece = connection.recv(BUFFER_BYTES)
                if not piece:
                    return
                left -= len(piece)

    @property
    def answered_early(self) -> bool:
        """Whether the request's body was not read when it was answered."""
        return self.answered and self._body_left and self._has_body

    @property
    def _has_body(self) -> bool:
        return self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers

    def answer_json(self, status: int, value: object, *, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a JSON document."""
        self.answer(
            status,
            json.dumps(value).encode(),
            headers={"Content-Type": "application/json", **(headers or {})},
        )


def _chunked(stream: BufferedIOBase) -> Iterable[bytes]:
    while True:
        line = stream.readline(1024)
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError as error:
            raise ConnectionError("the client sent a malformed chunk") from error
        if size == 0:
            while stream.readline(8192) not in (b"\r\n", b"\n", b""):
                pass
            return
        while size:
            piece = stream.read(min(size, BUFFER_BYTES))
            if not piece:
                raise ConnectionError("the client went away in the middle of its request")
            size -= len(piece)
            yield piece
        stream.readline(8)


class Route(Protocol):
    """What answers below a path prefix."""

    prefix: str

    def handle(self, exchange: Exchange) -> None:
        """Answer the exchange, or raise an OpenRaaSError, which becomes its status and message."""


def _make_handler(routes: list[Route]) -> type[BaseHTTPRequestHandler]:
    ordered = sorted(routes, key=lambda route: -len(route.prefix))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "openraas"
        sys_version = ""
        timeout = IDLE_S
        rbufsize = BUFFER_BYTES
        disable_nagle_algorithm = True

        def handle(self) -> None:
            # Engines with the containerd image store try TLS first, on loopback as well, and fall back to
            # plain HTTP when the answer looks like HTTP.
            with contextlib.suppress(OSError):
                first = self.connection.recv(1, socket.MSG_PEEK)
                if first and first[0] == TLS_HANDSHAKE:
                    self.connection.sendall(NOT_TLS)
                    return
                super().handle()

        def _serve(self) -> None:
            exchange = Exchange(self)
            route = next((item for item in ordered if exchange.path.startswith(item.prefix)), None)
            try:
                if route is None:
                    exchange.answer_json(404, {"error": "not-found", "message": "There is nothing here."})
                    return
                route.handle(exchange)
            except OpenRaaSError as error:
                self._fail(exchange, error.http_status, str(error), error.field)
            except (ConnectionError, TimeoutError):
                self.close_connection = True
            except Exception:
                log.exception("request failed", path=exchange.path)
                self._fail(exchange, 500, "The box could not answer; its log says why.", None)
            if exchange.answered_early:
                exchange.linger()

        def _fail(self, exchange: Exchange, status: int, message: str, field: str | None) -> None:
            if exchange.answered:
                self.close_connection = True
                return
            name = HTTPStatus(status).phrase.lower().replace(" ", "-")
            exchange.answer_json(status, {"error": name, "message": message, "field": field})

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_OPTIONS = _serve  # noqa: N815
        # WebDAV's own (RFC 4918, section 9).
        do_PROPFIND = do_PROPPATCH = do_MKCOL = do_COPY = do_MOVE = do_LOCK = do_UNLOCK = _serve  # noqa: N815

        def address_string(self) -> str:
            return "front"

        def log_message(self, format: str, *args: object) -> None:
            pass  # nginx keeps the access log, without queries

    return Handler


class _UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX
    request_queue_size = 256

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "front", 0


class _TcpServer(ThreadingHTTPServer):
    request_queue_size = 256


def serve_on(listener: socket.socket, routes: list[Route]) -> ThreadingHTTPServer:
    """A server on a Unix socket that listens already and stays its owner's; run it with `serve_forever`."""
    handler = _make_handler(routes)
    handler.disable_nagle_algorithm = False  # there is none on a Unix socket
    server = _UnixServer("", handler, bind_and_activate=False)  # type: ignore[arg-type]
    server.socket.close()
    server.socket = listener
    server.daemon_threads = True
    return server


def make_server(address: Path | tuple[str, int], routes: list[Route]) -> ThreadingHTTPServer:
    """A server on a Unix socket (0600) or on an address; run it with `serve_forever`.

    Raises OSError if the address is taken.
    """
    handler = _make_handler(routes)
    if isinstance(address, Path):
        address.parent.mkdir(parents=True, exist_ok=True)
        address.unlink(missing_ok=True)
        handler.disable_nagle_algorithm = False  # there is none on a Unix socket
        server: ThreadingHTTPServer = _UnixServer(str(address), handler)  # type: ignore[arg-type]
        address.chmod(0o600)
    else:
        server = _TcpServer(address, handler)
    server.daemon_threads = True
    return server
