"""The round trip of a connection, as this kernel tells it."""

from __future__ import annotations

import socket

from common.tcp import round_trip_ms


def test_a_connection_has_a_round_trip_once_it_is_made() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        measured = round_trip_ms(client)
        assert measured is not None
        assert 0 < measured < 1000


def test_what_is_not_connected_by_tcp_has_none() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as idle:
        assert round_trip_ms(idle) is None
    assert round_trip_ms(idle) is None
    one, other = socket.socketpair()
    with one, other:
        assert round_trip_ms(one) is None
