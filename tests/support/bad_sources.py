"""Servers that a transfer must survive: liars, and those that say nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.words import Endpoint

Respond = Callable[[socket.socket], None]


@contextmanager
def bad_source(respond: Respond) -> Iterator[Endpoint]:
    """A server that treats each connection as `respond` does."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            opened.append(connection)
            threading.Thread(target=respond, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield Endpoint(host="127.0.0.1", port=listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for connection in opened:
            connection.close()


def silent(connection: socket.socket) -> None:
    """Takes the connection and never answers."""


def hang_up(connection: socket.socket) -> None:
    """Ends the connection at once."""
    connection.close()


def liar(sizes: dict[str, int]) -> Respond:
    """Answers every range with zeros; `sizes` are those of the blobs by digest."""

    def respond(connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as stream:
                while request := stream.readline():
                    span = ""
                    while (line := stream.readline().strip()) != b"":
                        name, _, value = line.decode().partition(":")
                        span = value.strip() if name.lower() == "range" else span
                    first, last = map(int, span.removeprefix("bytes=").split("-"))
                    digest = request.split()[1].decode().rpartition("/")[2]
                    head = "HTTP/1.1 206 Partial Content\r\n"
                    head += f"Content-Length: {last - first + 1}\r\n"
                    head += f"Content-Range: bytes {first}-{last}/{sizes[digest]}\r\n\r\n"
                    connection.sendall(head.encode() + bytes(last - first + 1))
        except OSError:
            return  # the transfer has left this source

    return respond
