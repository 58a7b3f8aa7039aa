"""The road of guests to an application's own pages."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path

from tests.support.redis import wait_until
from workers.box.table import Table
from workers.compute.activity import UseTable
from workers.compute.instances import InstanceRow
from workers.gateway.connections import Connections
from workers.gateway.cookies import Session
from workers.gateway.relay import Relays
from workers.gateway.standing import Standing


def test_a_road_that_broke_is_replaced_with_the_next_request(tmp_path: Path) -> None:
    table = Table(tmp_path / "table")
    relays = Relays(Connections(Standing(table), UseTable(table)))
    session = Session(instance="i", generation=1, until=time.time() + 60, share="s", key="k")
    row = replace(InstanceRow.nobody("i", 1), address="127.0.0.1", port=9)
    first = relays.upstream(session, row)
    assert relays.upstream(session, row) == first
    (relay,) = relays._relays.values()
    relay._listener.shutdown(socket.SHUT_RDWR)  # accept fails, as without a descriptor
    wait_until(lambda: not relay.is_open, what="the end of the road")
    assert relays.upstream(session, row) != first
