"""A program started in a running container, with a terminal: the engine's exec by plain HTTP, for the front process.

Docker's interface, which Podman has too: make an exec, start it with an upgrade, and the connection is the terminal.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from workers.compute.errors import EngineError, EngineUnavailable
from workers.compute.sockets import connect

PIECE_BYTES = 32 * 1024
HEAD_BYTES = 16 * 1024


class Exec:
    """A terminal in a container. One thread reads, any may write; `close` wakes both."""

    def __init__(self, url: str, name: str, stream: socket.socket, first: bytes, *, timeout_s: float) -> None:
        self._url, self._name, self._timeout_s = url, name, timeout_s
        self._stream = stream
        self._first = first

    def read(self) -> bytes:
        """What the program printed next; nothing once it has ended."""
        if self._first:
            piece, self._first = self._first, b""
            return piece
        try:
            return self._stream.recv(PIECE_BYTES)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        """Type. Raises EngineError if the program takes nothing for as long as the engine may take to answer."""
        left, poll = memoryview(data), select.poll()
        try:
            poll.register(self._stream, select.POLLOUT)
        except ValueError as error:  # it was closed
            raise EngineError("The program in the terminal has ended.") from error
        end = time.monotonic() + self._timeout_s
        while left:
            if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
                raise EngineError("The program in the terminal takes no input.")
            try:
                left = left[self._stream.send(left, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise EngineError("The program in the terminal has ended.") from error

    def resize(self, columns: int, rows: int) -> None:
        """Tell the program the size of the window. Raises EngineError."""
        _ask(
            self._url,
            f"/exec/{self._name}/resize?{urlencode({'h': rows, 'w': columns})}",
            None,
            self._timeout_s,
        )

    def close(self) -> None:
        """Let go; the program itself stays until it is ended."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()


def start_exec(
    urls: Sequence[str],
    container: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_s: float,
) -> Exec:
    """Start a program with a terminal in the container, as the container's own user.

    `urls` are engines, of which the first that has the container counts. Raises EngineError if the container does not
    run, EngineUnavailable if no engine answers.
    """
    url, name = _make(urls, container, command, environment, timeout_s, terminal=True)
    try:
        stream, first = _begin(url, name, timeout_s)
    except OSError as error:
        raise EngineUnavailable(f"The box's container engine does not answer: {error}.") from error
    return Exec(url, name, stream, first, timeout_s=timeout_s)


def run_in(urls: Sequence[str], container: str, command: Sequence[str], *, timeout_s: float) -> None:
    """Start a program in the container and leave it alone. Raises EngineError."""
    url, name = _make(urls, container, command, {}, timeout_s, terminal=False)
    _ask(url, f"/exec/{name}/start", {"Detach": True, "Tty": False}, timeout_s)


def _make(
    urls: Sequence[str],
    container: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float,
    *,
    terminal: bool,
) -> tuple[str, str]:
    wanted = {
        "AttachStdin": terminal,
        "AttachStdout": terminal,
        "AttachStderr": terminal,
        "Tty": terminal,
        "Cmd": list(command),
        "Env": [f"{name}={value}" for name, value in environment.items()],
    }
    silent = []
    for url in urls:
        try:
            answer = _ask(url, f"/containers/{quote(container)}/exec", wanted, timeout_s)
        except EngineUnavailable as error:
            silent.append(str(error))
            continue
        if answer is not None:
            return url, str(answer["Id"])
    if len(silent) == len(urls):
        raise EngineUnavailable(" ".join(silent), remedy="Try again in a moment.")
    raise EngineError("The container is not there any more.")


def _ask(url: str, target: str, body: object, timeout_s: float) -> dict[str, Any] | None:
    """One POST; none if the engine knows no such thing."""
    connection = connect(url, timeout_s=timeout_s)
    try:
        content = json.dumps(body).encode() if body is not None else b""
        connection.request("POST", target, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise EngineUnavailable(f"The container engine at {url} does not answer ({error}).") from error
    finally:
        connection.close()
    if answer.status == http.client.NOT_FOUND:
        return None
    if answer.status >= http.client.BAD_REQUEST:
        raise EngineError(f"The engine refuses: {_message(text)}.")
    found: dict[str, Any] = json.loads(text) if text.strip().startswith(b"{") else {}
    return found


def _begin(url: str, name: str, timeout_s: float) -> tuple[socket.socket, bytes]:
    """Start the exec; gives the connection that is its terminal now, and what came with the answer's head.

    Written by hand: http.client keeps what it read ahead to itself.
    """
    connection = connect(url, timeout_s=timeout_s)
    connection.connect()
    stream: socket.socket = connection.sock
    body = json.dumps({"Detach": False, "Tty": True}).encode()
    stream.sendall(
        f"POST /exec/{name}/start HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n"
        f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    head = b""
    while b"\r\n\r\n" not in head and len(head) < HEAD_BYTES:
        piece = stream.recv(PIECE_BYTES)
        if not piece:
            break
        head += piece
    head, _, rest = head.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status not in ([b"101"], [b"200"]):
        stream.close()
        raise EngineError(f"The engine starts nothing in the container: {_message(rest)}.")
    stream.settimeout(None)
    return stream, rest


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or "it gave no reason"
