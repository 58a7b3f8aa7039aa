"""When an application counts as ready."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from common.readiness import Readiness
from workers.compute.readiness import answers, wait_until_ready


class Server(HTTPServer):
    status = 200


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize(
    ("status", "ready"), [(200, True), (302, True), (401, True), (404, True), (500, False), (503, False)]
)
def test_any_answer_but_a_servers_failure_counts(server: Server, status: int, ready: bool) -> None:
    server.status = status
    assert answers("127.0.0.1", server.server_port, "/", timeout_s=5) is ready


def test_a_connection_is_enough_where_no_path_is_given(server: Server) -> None:
    server.status = 500
    assert answers("127.0.0.1", server.server_port, None, timeout_s=5)


def test_something_that_is_not_http_is_not_ready_by_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=lambda: listener.accept()[0].sendall(b"SSH-2.0\r\n"), daemon=True).start()
        assert not answers("127.0.0.1", listener.getsockname()[1], "/", timeout_s=5)


def test_waiting_ends_when_the_server_comes(server: Server) -> None:
    server.status = 503
    threading.Timer(0.1, lambda: setattr(server, "status", 200)).start()
    assert wait_until_ready(
        "127.0.0.1", server.server_port, Readiness(http="/"), until=time.monotonic() + 10, wanted=lambda: True
    )


def test_waiting_ends_with_its_limit_or_when_nobody_wants_it() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert not wait_until_ready(
            "127.0.0.1", port, Readiness(), until=time.monotonic(), wanted=lambda: True
        )
        until = time.monotonic() + 60
        assert not wait_until_ready("127.0.0.1", port, Readiness(), until=until, wanted=lambda: False)
        assert time.monotonic() < until
