"""What is left when the container engine of a box is killed under it: nothing, once the box is cleaned."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from common.service import Egress
from common.words import Resources
from tests.support.engine import EngineServer, root_file_system, run_engine
from tests.support.redis import wait_until
from workers.box.config import BoxConfig
from workers.box.leftovers import clean
from workers.box.table import Table
from workers.compute.engines import find_engine
from workers.compute.firewall import Firewall, Rules, bridge_prefix
from workers.compute.instances import Instances
from workers.compute.networks import NetworkPool

pytestmark = pytest.mark.engine
ROOM = Resources(cpu=8, memory_bytes=2**33)


def links(prefix: str) -> list[str]:
    return [name for _, name in socket.if_nameindex() if name.startswith(prefix)]


def rules(config: BoxConfig) -> list[str]:
    saved = subprocess.run(["iptables-save", "-t", "mangle"], capture_output=True, text=True, check=True)
    chains = Rules(bridge_prefix(config))
    return [line for line in saved.stdout.splitlines() if chains.input in line or chains.forward in line]


def programs(server: EngineServer) -> list[psutil.Process]:
    """The engine's own programs and its containers."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(server.socket.parent) in word for word in process.cmdline()):
                found += [process, *process.children(recursive=True)]
    return list(dict.fromkeys(found))


@contextmanager
def neighbour(config: BoxConfig) -> Iterator[str]:
    """A bridge and rules of another box on this machine."""
    bridge = f"{bridge_prefix(config)}abcdef"
    firewall = Firewall(bridge_prefix(config), gateway_resolves=False)
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
    try:
        firewall.apply([])
        yield bridge
    finally:
        firewall.remove()
        subprocess.run(["ip", "link", "delete", bridge], check=False)


def run_container(engine_url: str, network: str) -> None:
    """A container on a network of the box, which stays when its engine is killed."""
    docker = ["docker", "-H", engine_url]
    subprocess.run(
        [*docker, "import", "-", "small:1"], input=root_file_system(), capture_output=True, check=True
    )
    command = ["run", "--detach", "--network", network, "small:1", "/bin/busybox", "sleep", "1000"]
    subprocess.run([*docker, *command], capture_output=True, check=True)


def kill(server: EngineServer) -> None:
    """Kill the engine's daemon alone, as the kernel does when memory runs out."""
    for process in programs(server):
        if process.name() == "dockerd":
            process.kill()
    wait_until(lambda: "dockerd" not in [item.name() for item in programs(server)], what="the engine's end")


def test_nothing_is_left_of_a_box_whose_engine_was_killed_and_nothing_of_another_goes(tmp_path: Path) -> None:
    other = BoxConfig(box="leftovers", state_dir=tmp_path / "other")
    with run_engine() as server, neighbour(other) as bridge:
        config = BoxConfig(
            box="leftovers",
            state_dir=tmp_path / "box",
            engine_url=server.url,
            network_range="10.213.242.0/24",
        )
        config.state_dir.mkdir()
        table, engine = Table(config.state_dir / "box.db"), find_engine(server.url)
        instances = Instances(table)
        prefix = bridge_prefix(config)
        pool = NetworkPool(config, table, instances, engine, Firewall(prefix, gateway_resolves=True))
        pool.refill()
        row = instances.admit("i-1", 1, "d-1", Resources(), ROOM)
        run_container(server.url, pool.attach(row, Egress()).network.name)
        mounted = config.state_dir / "mounts/i-1"
        mounted.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mounted], check=True)
        assert links(prefix)
        assert rules(config)
        kill(server)
        removed = clean(config)
        assert (links(prefix), rules(config), mounted.is_mount()) == ([], [], False)
        assert len([line for line in removed if line.startswith("bridge")]) >= 3
        assert links(bridge) == [bridge]
        assert rules(other)
    assert links(prefix) == []
    assert programs(server) == []
    assert str(server.socket.parent) not in Path("/proc/self/mounts").read_text()


def test_an_engine_of_a_test_run_leaves_no_bridges_behind_when_it_is_killed() -> None:
    with run_engine() as server:
        engine = ["docker", "-H", server.url]
        name = f"ors{time.time_ns() % 16**12:012x}"
        option = f"com.docker.network.bridge.name={name}"
        subprocess.run([*engine, "network", "create", "-o", option, "mine"], capture_output=True, check=True)
        assert links(name) == [name]
        run_container(server.url, "mine")
        kill(server)
        assert links(name) == [name]
        left = programs(server)
        assert left
    assert links(name) == []
    assert not [process for process in left if process.is_running() and process.status() != "zombie"]
