"""The kernel's table of connections, as it is read."""

from __future__ import annotations

from workers.compute.activity import connections

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0110D50A:C350 0210D50A:1F40 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0110D50A:C351 0310D50A:1F40 06 00000000:00000000 00:00000000 00000000     0        0 3 1
"""


def test_the_far_ends_of_established_connections_are_read() -> None:
    assert connections(TABLE) == {("10.213.16.2", 8000)}
