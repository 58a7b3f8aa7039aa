"""The ground of a lab: links, processes and engines, without a master."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import BadInput, NotFound
from common.words import Role
from tests.lab import machines
from workers.lab import build, engine, network, plan, processes, remains
from workers.lab.errors import LabError
from workers.lab.fleet import Lab
from workers.lab.plan import Link

pytestmark = pytest.mark.lab

PORT = 9000


@pytest.fixture
def two(lab_id: str, tmp_path: Path) -> Iterator[Lab]:
    """Two machines; the first can send 20 Mbit/s and receive 40, the second is not limited."""
    lab = machines.make(lab_id, tmp_path, [Link(uplink_bps=20_000_000, downlink_bps=40_000_000), Link()])
    yield lab
    build.down(lab_id)


def serve(lab: Lab, name: str) -> str:
    """Start a server that takes in bytes on a machine; returns its address."""
    node = lab.state.find(name)
    argv = [sys.executable, "-c", machines.SERVER, str(PORT)]
    processes.start_inside(lab.init_of(node), argv, lab.state.node_dir(node) / "server.log")
    address = lab.state.address(node)
    processes.wait_for(lambda: machines.reaches(lab, name, address, PORT), 10, "no server")
    return address


def rate(lab: Lab, sender: str, address: str, size: int) -> float:
    answer = machines.python(lab, sender, machines.CLIENT, address, PORT, size)
    assert answer.returncode == 0, answer.stderr
    return float(answer.stdout)


def test_a_link_is_as_fast_as_it_was_asked_to_be_in_each_direction(two: Lab) -> None:
    first, second = serve(two, "m1"), serve(two, "m2")

    assert rate(two, "m1", second, 5_000_000) == pytest.approx(20e6, rel=0.15)
    assert rate(two, "m2", first, 10_000_000) == pytest.approx(40e6, rel=0.15)


def test_a_cut_link_swallows_packets_both_ways_and_a_mended_one_carries_them(two: Lab) -> None:
    first, second = serve(two, "m1"), serve(two, "m2")
    two.cut("m1")
    outward = machines.python(two, "m1", machines.ASK, second, PORT, 1.5)
    inward = machines.python(two, "m2", machines.ASK, first, PORT, 1.5)

    # Swallowed, not refused: nobody tells the sender that the line is broken.
    assert "TimeoutError" in outward.stderr
    assert "TimeoutError" in inward.stderr
    assert [row.word for row in two.status()] == ["cut", "up"]
    assert "state UP" in subprocess.run(
        two.inside(two.state.find("m1"), ["ip", "link", "show", "eth0"]), capture_output=True, text=True
    ).stdout  # fmt: skip

    two.heal("m1")
    assert machines.reaches(two, "m1", second, PORT)
    assert machines.reaches(two, "m2", first, PORT)


def test_cutting_and_healing_twice_is_the_same_as_once(two: Lab) -> None:
    for _ in range(2):
        two.cut("m1")
    for _ in range(2):
        two.heal("m1")

    assert machines.reaches(two, "m1", serve(two, "m2"), PORT)


@pytest.fixture
def far(lab_id: str, tmp_path: Path) -> Iterator[Lab]:
    """Two machines; the first is 30 ms away and receives 40 Mbit/s, the second is not limited."""
    lab = machines.make(lab_id, tmp_path, [Link(downlink_bps=40_000_000, delay_ms=30), Link()])
    yield lab
    build.down(lab_id)


def round_trip_ms(lab: Lab, name: str, address: str) -> float:
    """The shortest of a few."""
    answers = [machines.python(lab, name, machines.ROUND_TRIP, address, PORT) for _ in range(3)]
    assert all(answer.returncode == 0 for answer in answers), answers[0].stderr
    return min(float(answer.stdout) for answer in answers)


def test_a_delayed_link_is_as_long_as_it_was_asked_to_be_and_carries_what_it_should(far: Lab) -> None:
    first, second = serve(far, "m1"), serve(far, "m2")
    assert round_trip_ms(far, "m1", second) >= 30
    assert round_trip_ms(far, "m2", first) >= 30
    assert rate(far, "m2", first, 10_000_000) <= 40e6 * 1.15


def test_a_delayed_link_is_cut_mended_and_brought_back_with_its_machine(far: Lab) -> None:
    second = serve(far, "m2")
    far.cut("m1")
    assert not machines.reaches(far, "m1", second, PORT)
    far.heal("m1")
    assert round_trip_ms(far, "m1", second) >= 30

    far.kill("m1")
    far.start([far.state.find("m1")])
    assert round_trip_ms(far, "m1", second) >= 30


def test_a_machine_reaches_this_host_and_nothing_beyond_it(two: Lab) -> None:
    host = two.state.host_address
    answer = machines.python(two, "m1", machines.ASK, host, 9, 2)
    beyond = machines.python(two, "m1", machines.ASK, "192.0.2.1", 9, 2)

    assert "ConnectionRefusedError" in answer.stderr
    assert "Network is unreachable" in beyond.stderr or "No route to host" in beyond.stderr


def test_killing_a_machine_ends_all_its_processes_however_far_they_ran_away(two: Lab) -> None:
    node = two.state.find("m1")
    log = two.state.node_dir(node) / "escape.log"
    processes.start_inside(two.init_of(node), ["setsid", "--fork", "sleep", "3600"], log)
    namespace = network.NAMESPACES / two.state.namespace(node)
    processes.wait_for(lambda: sleepers(namespace) != [], 5, "no sleeper")
    found = sleepers(namespace)

    two.kill("m1")

    assert not any(Path(f"/proc/{pid}").exists() for pid in found)
    assert not machines.runs(two, "m1")
    assert machines.runs(two, "m2")


def sleepers(namespace: Path) -> list[int]:
    there = namespace.stat()
    pids = processes._in_namespace((there.st_dev, there.st_ino))
    return [pid for pid in pids if b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_number_that_another_process_got_is_not_killed() -> None:
    mine = processes.mark(os.getpid())
    assert mine is not None
    former = mine.model_copy(update={"started": mine.started - 1})

    processes.kill_node(former)

    assert not processes.alive(former)
    assert processes.alive(mine)


def test_mounts_of_a_machine_are_its_own_and_go_with_it(two: Lab, tmp_path: Path) -> None:
    point = tmp_path / "point"
    point.mkdir()
    node = two.state.find("m1")
    mounted = subprocess.run(two.inside(node, ["mount", "-t", "tmpfs", "none", str(point)]), check=False)

    assert mounted.returncode == 0
    assert not point.is_mount()
    two.kill("m1")
    point.rmdir()


@pytest.mark.parametrize("socket", processes.HOST_ENGINES)
def test_a_machine_does_not_reach_the_engine_of_this_host(two: Lab, socket: str) -> None:
    if not Path(socket).exists():
        pytest.skip(f"this host has no {socket}")
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    answer = machines.python(two, "m1", code, socket)

    assert answer.returncode != 0
    assert "Error" in answer.stderr
    assert Path(socket).is_socket()


@pytest.mark.engine
def test_each_machine_has_an_engine_of_its_own_that_dies_with_it(lab_id: str, tmp_path: Path) -> None:
    lab = machines.make(lab_id, tmp_path, [Link()] * 2, frozenset({Role.COMPUTE}))
    for node in lab.state.boxes:
        started = engine.start(lab.state, node, lab.init_of(node))
        engine.wait_ready(lab.state, node, started)
    names = [docker(lab, name, "info", "--format", "{{.Name}} {{.CgroupDriver}}") for name in ("m1", "m2")]
    docker(lab, "m1", "network", "create", "openraas-lab-test")

    lab.kill("m1")

    assert names == ["m1 cgroupfs", "m2 cgroupfs"]
    assert [row.engine for row in lab.status()] == [False, True]
    lab.start([lab.state.find("m1")])
    assert "openraas-lab-test" in docker(lab, "m1", "network", "ls", "--format", "{{.Name}}").split()
    build.down(lab_id)
    assert remains.of(lab_id, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def docker(lab: Lab, name: str, *arguments: str) -> str:
    host = f"unix://{engine.socket_path(lab.state, lab.state.find(name))}"
    done = subprocess.run(["docker", "--host", host, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_down_leaves_nothing_even_when_the_state_is_lost(two: Lab, tmp_path: Path) -> None:
    lab = two.state.lab
    serve(two, "m1")
    (tmp_path / plan.STATE_FILE).write_text("not json")

    assert lab in build.all_labs()
    build.down(lab)

    assert remains.of(lab, tmp_path) == []
    assert lab not in build.all_labs()


def test_a_subnet_that_is_in_use_is_refused_and_the_next_free_one_is_found(two: Lab) -> None:
    with pytest.raises(BadInput, match="in use"):
        network.check_subnet(str(two.state.subnet))
    with pytest.raises(BadInput, match="too small"):
        network.check_subnet("10.231.7.0/28")
    with pytest.raises(BadInput, match="not a subnet"):
        network.check_subnet("10.231.7.0/42")

    assert not network.free_subnet().overlaps(two.state.subnet)
    assert network.check_subnet("198.18.7.0/24") == ipaddress.IPv4Network("198.18.7.0/24")


def test_a_box_that_is_not_there_is_named_with_those_that_are(two: Lab) -> None:
    with pytest.raises(NotFound, match="no box m9"):
        two.cut("m9")


def test_a_lab_that_cannot_be_made_is_undone(
    lab_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from common.settings import load_settings

    def broken(*_: object) -> None:
        raise LabError("the router is out of order")

    monkeypatch.setattr(network.Network, "attach", broken)
    wanted = build.Plan(boxes=1, lab=lab_id, state_dir=tmp_path / "lab", own_master=True)
    with pytest.raises(LabError, match="out of order"):
        build.up(wanted, load_settings(state_dir=tmp_path / "master"))

    assert remains.of(lab_id, tmp_path / "lab") == []
    assert not (tmp_path / "lab").exists()


def test_a_master_on_loopback_is_refused_with_the_remedy(lab_id: str, tmp_path: Path) -> None:
    from common.settings import load_settings

    wanted = build.Plan(boxes=1, lab=lab_id, state_dir=tmp_path / "lab")
    with pytest.raises(BadInput, match="--own-master"):
        build.up(wanted, load_settings(state_dir=tmp_path / "master", listen="127.0.0.1"))

    assert remains.of(lab_id, tmp_path / "lab") == []
