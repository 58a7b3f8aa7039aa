"""Bare machines on a lab's network, without a master: what network, processes and engines do by themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from common.words import Role
from workers.lab import network
from workers.lab.fleet import Lab
from workers.lab.plan import LabState, Link, Node, save
from workers.lab.processes import alive

# Sends, or takes in, so many bytes and prints how many bits a second that were.
SERVER = """
import socket, sys, time
server = socket.create_server(("", int(sys.argv[1])))
while True:
    connection, _ = server.accept()
    while connection.recv(65536):
        pass
    connection.close()
"""
CLIENT = """
import socket, sys, time
address, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
connection = socket.create_connection((address, port), timeout=3)
start = time.monotonic()
for _ in range(size // 50_000):
    connection.sendall(bytes(50_000))
connection.shutdown(socket.SHUT_WR)
connection.recv(1)
print(size * 8 / (time.monotonic() - start))
"""
# Prints the shortest round trip that the kernel saw, in milliseconds.
ROUND_TRIP = """
import socket, sys
from common.tcp import round_trip_ms
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as connection:
    print(round_trip_ms(connection))
"""
ASK = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])).close()
"""


def make(lab_id: str, directory: Path, links: list[Link], roles: frozenset[Role] = frozenset()) -> Lab:
    """A lab of bare machines named m1, m2, … that run nothing yet but their first process."""
    state = LabState(lab=lab_id, state_dir=directory, made_state_dir=False, subnet=network.free_subnet())
    save(state)
    lab = Lab(state)
    lab.network.create()
    for index, link in enumerate(links):
        lab.boot(Node(name=f"m{index + 1}", number=11 + index, link=link, roles=roles))
    return lab


def python(lab: Lab, name: str, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a piece of Python on a machine."""
    argv = lab.inside(lab.state.find(name), [sys.executable, "-c", code, *map(str, arguments)])
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def reaches(lab: Lab, name: str, address: str, port: int, timeout_s: float = 2.0) -> bool:
    """Whether a machine can open a connection."""
    return python(lab, name, ASK, address, port, timeout_s).returncode == 0


def runs(lab: Lab, name: str) -> bool:
    """Whether a machine runs."""
    return alive(lab.state.find(name).init)
