"""Whether an instance answers: by HTTP with any status below 500, or by a TCP connection."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable

from common.readiness import Readiness

# One attempt waits for an answer at most so long; an application that is slow to answer is asked again.
ATTEMPT_S = 5.0
SLOWEST = 10
GROWTH = 1.3


def answers(address: str, port: int, path: str | None, *, timeout_s: float) -> bool:
    """One attempt."""
    if path is None:
        try:
            socket.create_connection((address, port), timeout=timeout_s).close()
        except OSError:
            return False
        return True
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"User-Agent": "openraas-readiness"})
        return connection.getresponse().status < http.client.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_until_ready(
    address: str, port: int, readiness: Readiness, *, until: float, wanted: Callable[[], bool]
) -> bool:
    """Ask until it answers or `until` (monotonic seconds) has come or it is not `wanted` any more.

    The pause between two attempts starts at `interval_s` and grows to ten times that.
    """
    pause = readiness.interval_s
    while wanted():
        left = until - time.monotonic()
        if answers(address, port, readiness.http, timeout_s=min(ATTEMPT_S, max(left, 0.001))):
            return True
        left = until - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * GROWTH, readiness.interval_s * SLOWEST)
    return False
