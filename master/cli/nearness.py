"""How far this machine is from a few boxes, measured before something is started."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from common.tcp import round_trip_ms
from common.words import MOST_ROUND_TRIP_MS
from master.cli.client import Client

CONNECTIONS = 3
# A box that does not answer holds nobody up for longer.
CONNECT_S = 1.0


def measure(client: Client) -> dict[str, float]:
    """The shortest round trip in milliseconds to each box that the master names and that can be reached."""
    fronts = [(item["box"], item["front"]) for item in client.get("/nearness/candidates")["candidates"]]
    if not fronts:
        return {}
    with ThreadPoolExecutor(len(fronts)) as pool:
        found = pool.map(_shortest, [front for _, front in fronts])
    return {box: ms for (box, _), ms in zip(fronts, found, strict=True) if ms is not None}


def _shortest(front: dict[str, Any]) -> float | None:
    """By a few handshakes: nothing is sent, so no certificate matters."""
    measured = []
    for _ in range(CONNECTIONS):
        if (took_ms := _handshake_ms(front["host"], front["port"])) is None:
            break  # who does not answer once is not waited for again
        measured.append(took_ms)
    return min((ms for ms in measured if 0 < ms <= MOST_ROUND_TRIP_MS), default=None)


def _handshake_ms(host: str, port: int) -> float | None:
    began = time.perf_counter()
    try:
        with socket.create_connection((host, port), timeout=CONNECT_S) as connection:
            took_ms = 1000 * (time.perf_counter() - began)
            return round_trip_ms(connection) or took_ms
    except OSError:
        return None
