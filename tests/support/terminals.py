"""The WebSocket of a terminal's window, without the browser."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect

LIMIT_S = 20.0


def enter(url: str) -> str:
    """The cookie that a ticket's address gives; names below localhost are this machine."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=LIMIT_S)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}", headers={"Host": parts.netloc})
        answer = connection.getresponse()
        assert answer.status == http.client.SEE_OTHER, answer.read()
        return str(answer.headers["Set-Cookie"]).split(";")[0]
    finally:
        connection.close()


def dial(netloc: str, cookie: str, *, shell: str = "", origin: str = "") -> ClientConnection:
    """One window on the instance at `netloc`, with a shell of its own or with this one."""
    parts = urlsplit(f"//{netloc}")
    return connect(
        f"ws://{netloc}/_openraas/terminal/socket{f'?shell={shell}' if shell else ''}",
        sock=socket.create_connection(("127.0.0.1", parts.port or 80), LIMIT_S),
        additional_headers={"Cookie": cookie, "Origin": origin or f"http://{netloc}"},
        open_timeout=LIMIT_S,
        close_timeout=1,
    )
