"""One measured round trip to another box's front."""

from __future__ import annotations

import contextlib
import http.client
from pathlib import Path

from common.errors import Unavailable
from common.tcp import round_trip_ms
from common.tls import connect_box
from common.words import Endpoint

PING = "/_openraas/ping"
PROBE_S = 3.0
# More segments than those of the handshake, so that the shortest round trip is a good one.
PINGS = 3


def probe(box: str, front: Endpoint, authority: Path) -> float:
    """The round trip to a box's front in milliseconds; raises Unavailable if nobody answers there, or not that box.

    Off loopback the answers come over TLS with the certificate that the authority gave to this box, so they are
    its own.
    """
    connection = connect_box(front, box, authorities=authority, timeout_s=PROBE_S)
    with contextlib.closing(connection):
        try:
            for _ in range(PINGS):
                connection.request("GET", PING)
                answer = connection.getresponse()
                answer.read()
                if answer.status != http.HTTPStatus.NO_CONTENT:
                    raise Unavailable(f"{front.url} answered {answer.status} to a ping.")
            measured = round_trip_ms(connection.sock)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{front.url} does not answer: {error or type(error).__name__}.") from error
    if measured is None:
        raise Unavailable(f"The kernel does not tell the round trip to {front.url}.")
    return measured
