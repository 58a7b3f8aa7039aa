"""Closed by default: what somebody on the network without a token gets from master and boxes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.portal import Portal, box_dir
from workers.lab.fleet import Lab
from workers.lab.network import NAMESPACES
from workers.lab.plan import Link, namespace_prefix

pytestmark = pytest.mark.lab

GUEST = 250
WEB_PORT, METRICS_PORT = 8080, 9464
FRONT_PORT, FILESTORE_PORT, LOOPBACK_PORT = 8090, 8091, 8092

REDIS = """
import socket, ssl, sys
plain = socket.create_connection((sys.argv[1], 6390), timeout=5)
plain.sendall(b"PING\\r\\n")
plain.settimeout(3)
try:
    print("plain", plain.recv(100))
except OSError as error:
    print("plain", type(error).__name__)
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
tls = context.wrap_socket(socket.create_connection((sys.argv[1], 6390), timeout=5))
for command in (b"PING", b"KEYS *", b"AUTH password", b"AUTH default openraas"):
    tls.sendall(command + b"\\r\\n")
    print(command.decode(), tls.recv(200))
"""
ASK = """
import http.client, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
host, port, method, path, name = sys.argv[1:6]
connection = http.client.HTTPSConnection(host, int(port), timeout=10, context=context)
connection.request(method, path, headers={"Host": name})
answer = connection.getresponse()
print(answer.status, answer.read(2000))
"""


@pytest.fixture(scope="module")
def guest(lab: Lab) -> Iterator[str]:
    """A machine on the lab's network that never joined; yields its namespace."""
    namespace = f"{namespace_prefix(lab.state.lab)}guest"
    lab.network.attach(namespace, GUEST, Link())
    yield namespace
    lab.network.detach(namespace, GUEST)


def run(guest: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run something on the guest's machine."""
    return subprocess.run(
        ["nsenter", f"--net={NAMESPACES / guest}", *argv], capture_output=True, text=True, timeout=60
    )


def ask(guest: str, host: str, port: int, path: str, method: str = "GET", name: str = "") -> str:
    """Status and body of an answer over TLS whose certificate nobody checks."""
    answer = run(guest, sys.executable, "-c", ASK, host, str(port), method, path, name or f"{host}:{port}")
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def is_open(guest: str, host: str, port: int) -> bool:
    """Whether anybody listens there for the guest."""
    code = f"import socket; socket.create_connection(({host!r}, {port}), timeout=3)"
    return run(guest, sys.executable, "-c", code).returncode == 0


def master_host(lab: Lab) -> str:
    """The address of the lab's master."""
    assert lab.state.master is not None
    return lab.state.master.address.rpartition(":")[0]


def test_redis_gives_a_stranger_nothing(lab: Lab, guest: str) -> None:
    answer = run(guest, sys.executable, "-c", REDIS, master_host(lab))

    assert answer.returncode == 0, answer.stderr
    lines = dict(line.split(" b'", 1) for line in answer.stdout.splitlines() if " b'" in line)
    assert "PONG" not in answer.stdout
    assert all("NOAUTH" in text or "WRONGPASS" in text or text == "'" for text in lines.values()), lines


@pytest.mark.parametrize(
    "path", ["/api/v1/boxes", "/api/v1/deployments", "/api/v1/users", "/metrics", "/flower/", "/boxes"]
)
def test_the_portal_shows_a_stranger_nothing_but_the_way_in(lab: Lab, guest: str, path: str) -> None:
    status, _, body = ask(guest, master_host(lab), WEB_PORT, path).partition(" ")

    assert status in ("302", "303", "401", "403", "404"), body
    assert not any(box.name in body for box in lab.state.boxes)


def test_a_box_does_not_join_with_a_token_that_nobody_made(lab: Lab, guest: str, tmp_path: Path) -> None:
    from workers.lab.commands import OPENRAAS

    assert lab.state.master is not None
    argv = [*OPENRAAS, "box", "join", f"https://{lab.state.master.address}", f"{'0' * 64}.{'x' * 43}",
            "--state-dir", str(tmp_path), "--name", "stranger", "--roles", "depository"]  # fmt: skip
    answer = run(guest, *argv)

    assert answer.returncode == 1
    assert "not the master that made this token" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_serves_one_machine_only_is_closed_to_others(lab: Lab, guest: str) -> None:
    boxes = [lab.state.address(box) for box in lab.state.boxes]

    assert not is_open(guest, master_host(lab), METRICS_PORT)
    assert not any(is_open(guest, address, LOOPBACK_PORT) for address in boxes)
    assert is_open(guest, boxes[0], FRONT_PORT)


def test_a_depository_gives_a_stranger_no_blob_and_takes_none(lab: Lab, portal: Portal, guest: str) -> None:
    depository = lab.state.boxes[2]
    address = lab.state.address(depository)
    blob = next((box_dir(lab, depository.name) / "store/blobs/sha256").glob("*")).name

    assert ask(guest, address, FRONT_PORT, f"/v2/lab/web/blobs/sha256:{blob}").startswith("401")
    assert ask(guest, address, FRONT_PORT, "/v2/lab/web/manifests/1").startswith("401")
    assert ask(guest, address, FRONT_PORT, "/v2/lab/web/blobs/uploads/", "POST").startswith("401")
    assert ask(guest, address, FRONT_PORT, f"/_store/sha256/{blob}")[:3] in ("401", "403", "404")
    assert ask(guest, address, FRONT_PORT, "/_layers/fetch", "POST")[:3] in ("401", "403", "404", "405")


def test_a_filestore_gives_a_stranger_no_file(lab: Lab, portal: Portal, guest: str, tmp_path: Path) -> None:
    address = lab.state.address(lab.state.boxes[1])
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    options = ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={os.devnull}",
               "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-i", str(key)]  # fmt: skip
    for user in ("root", "openraas", "nobody"):
        answer = run(guest, "ssh", *options, "-p", str(FILESTORE_PORT), f"{user}@{address}", "id")

        assert answer.returncode == 255
        assert "Permission denied" in answer.stderr
        assert answer.stdout == ""
    assert ask(guest, address, FRONT_PORT, "/filesets/lab-pages")[:3] in ("401", "403", "404")


def test_a_gateway_shows_a_stranger_no_instance(lab: Lab, portal: Portal, guest: str) -> None:
    deployment = portal.start("lab-site")
    try:
        instance = portal.wait(deployment, "running")
        box = lab.state.find(instance["box"])
        name = f"{instance['id']}.{box.name}.localhost:{FRONT_PORT}"
        answer = ask(guest, lab.state.address(box), FRONT_PORT, "/hello.txt", name=name)
    finally:
        portal.stop(deployment)

    assert answer[:3] in ("401", "403")
    assert "filestore" not in answer
