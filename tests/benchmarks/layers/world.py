"""The machines of the benchmark: bare nodes of a lab with shaped links, each running what a case needs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from common.wishes import ImageSource
from common.words import Role
from tests.benchmarks.layers.boxes import FRONT_PORT, Masterly, configure, empty, hold, spoil
from tests.benchmarks.layers.image import Image, Images, lay_out
from workers.box.config import BoxPaths
from workers.depository.client import LayersClient
from workers.gateway.nginx import server_command
from workers.lab import build, engine, network
from workers.lab.fleet import Lab
from workers.lab.plan import FIRST_BOX, LabState, Link, Node, ProcessMark, save
from workers.lab.processes import kill_node, start_inside, wait_for

REGISTRY_PORT = 5000
START_S = 60.0
# As in workers/box/programs.py.
LEAN = {"MALLOC_ARENA_MAX": "2"}


class Machine:
    """One node: a network namespace with a link of its own, and programs in it."""

    def __init__(self, world: World, node: Node, init: ProcessMark) -> None:
        self._world = world
        self._node = node
        self.name = node.name
        self.init = init
        self.address = world.lab.state.address(node)
        self.directory = world.lab.state.node_dir(node)
        self.programs: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def paths(self) -> BoxPaths:
        """Where the box on this machine keeps its things."""
        return BoxPaths(self.directory / "box")

    @property
    def layers(self) -> LayersClient:
        """The fetcher of this machine's box."""
        return LayersClient(self.paths)

    def run(self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a program; its output is in the node's directory."""
        log = self.directory / f"{name}.log"
        self.programs[name] = start_inside(self.init, argv, log, environment)

    def pid(self, name: str) -> int:
        """The program's process: `nsenter` into a PID namespace stays as its parent."""
        outer = self.programs[name].pid
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        return int(children[0])

    def start_box(self, role: Role, images: Sequence[Image] = ()) -> None:
        """Front and nginx of a box that holds `images`."""
        config = configure(self.name, self.paths.root, self.address, role)
        self._world.master.admit(config)
        hold(self.paths, images)
        self.start_front()
        self.run("nginx", server_command(config, self.paths))
        wait_for(lambda: self._listens(FRONT_PORT), START_S, f"{self.name} did not answer")

    def start_front(self) -> None:
        """The process that transfers."""
        argv = [sys.executable, "-m", "common", "box", "front", "--state-dir", str(self.paths.root)]
        self.run("front", argv, LEAN)
        wait_for((self.paths.run / "layers.sock").exists, START_S, f"the front of {self.name} did not start")

    def start_registry(self, address: str = "0.0.0.0") -> None:
        """The rival, serving the same blobs."""
        config = self.directory / "registry.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self._world.registry_root}}}}}\n"
            f"http: {{addr: '{address}:{REGISTRY_PORT}'}}\n"
        )
        self.run("registry", [str(self._world.registry), "serve", str(config)])
        if address == "0.0.0.0":
            wait_for(
                lambda: self._listens(REGISTRY_PORT), START_S, f"the registry of {self.name} did not answer"
            )

    def start_engine(self) -> None:
        """A Docker engine of its own, which may speak HTTP to every registry of this network."""
        state, node = self._world.lab.state, self._node
        data, run_dir = self.directory / "engine", state.run_dir(node)
        data.mkdir(parents=True)
        argv = [
            "dockerd", "--data-root", str(data), "--exec-root", str(run_dir / "exec"),
            "--host", f"unix://{self.socket}", "--pidfile", str(run_dir / "docker.pid"),
            "--cgroup-parent", state.cgroup(node), "--exec-opt", "native.cgroupdriver=cgroupfs",
            "--bridge", "none", "--iptables=false", "--insecure-registry", str(state.subnet),
        ]  # fmt: skip
        self.run("engine", argv)
        wait_for(lambda: engine.answers(state, node), START_S, f"the engine of {self.name} did not answer")

    @property
    def socket(self) -> Path:
        """Where the machine's engine listens."""
        return engine.socket_path(self._world.lab.state, self._node)

    def docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the docker client on the machine's engine."""
        command = ["/usr/bin/docker", "--host", f"unix://{self.socket}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def forget(self) -> None:
        """Remove every image of the engine and every blob of the box."""
        names = self.docker("image", "ls", "--quiet", "--no-trunc").stdout.split()
        if names:
            self.docker("image", "rm", "--force", *sorted(set(names)))
        if self.paths.table.exists():
            empty(self.paths)

    def received_bytes(self) -> int:
        """What came in by the machine's link so far."""
        return self._counters()[0]

    def sent_bytes(self) -> int:
        """What went out by it."""
        return self._counters()[8]

    def _counters(self) -> list[int]:
        for line in Path(f"/proc/{self.init.pid}/net/dev").read_text().splitlines():
            name, _, values = line.partition(":")
            if name.strip() == "eth0":
                return [int(value) for value in values.split()]
        raise RuntimeError(f"{self.name} has no link")

    def freeze(self) -> None:
        """Stop the box's servers, which keep their connections."""
        for pid in self._servers():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the servers go on."""
        # nsenter stops itself when its child is stopped, and then would not even notice its end.
        for pid in (*self._servers(), self.programs["nginx"].pid):
            os.kill(pid, signal.SIGCONT)

    def _servers(self) -> list[int]:
        master = self.pid("nginx")
        workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return [*map(int, workers), master]

    def lie(self, image: Image) -> None:
        """From now on the box sends other bytes."""
        spoil(self.paths, image)

    def kill(self) -> None:
        """The machine loses power."""
        kill_node(self.init)

    def _listens(self, port: int) -> bool:
        try:
            socket.create_connection((self.address, port), 1).close()
        except OSError:
            return False
        return True


class World:
    """A lab of bare machines for one case."""

    def __init__(self, lab: Lab, images: Images, registry: Path, registry_root: Path) -> None:
        self.lab = lab
        self.images = images
        self.registry = registry
        self.registry_root = registry_root
        self.master = Masterly()
        self.machines: dict[str, Machine] = {}

    def machine(self, name: str, up_bps: int | None = None, down_bps: int | None = None) -> Machine:
        """A new machine; its link is shaped in both directions where a rate is given."""
        link = Link(uplink_bps=up_bps, downlink_bps=down_bps)
        node = Node(name=name, number=FIRST_BOX + len(self.machines), link=link)
        machine = Machine(self, node, self.lab.boot(node))
        self.machines[name] = machine
        return machine

    def seeds(self, *rates_bps: int | None) -> list[Machine]:
        """Depositories that hold both images, on links of these rates."""
        made = [self.machine(f"seed-{number + 1}", rate, rate) for number, rate in enumerate(rates_bps)]
        for machine in made:
            machine.start_box(Role.DEPOSITORY, [self.images.base, self.images.whole])
        return made

    def reader(self, name: str = "reader", rate_bps: int | None = None) -> Machine:
        """A compute box with an engine."""
        machine = self.machine(name, rate_bps, rate_bps)
        machine.start_box(Role.COMPUTE)
        machine.start_engine()
        return machine

    def place(
        self, image: Image, reader: Machine, holders: Sequence[Machine], fetching: Sequence[Machine] = ()
    ) -> ImageSource:
        """What the master would tell the reader."""
        return self.master.place(
            image,
            {machine.name: machine.address for machine in holders},
            {machine.name: machine.address for machine in fetching},
            reader=reader.name,
        )


@contextmanager
def world(images: Images, registry: Path) -> Iterator[World]:
    """A lab without a master, removed afterwards."""
    name = f"b{os.urandom(2).hex()}"
    directory = Path(tempfile.mkdtemp(prefix="orbench-"))
    root = directory / "registry"
    made = None
    try:
        state = LabState(lab=name, state_dir=directory, made_state_dir=False, subnet=network.free_subnet())
        save(state)
        made = Lab(state)
        made.network.create()
        root.mkdir()
        lay_out(images, root)
        yield World(made, images, registry, root)
    finally:
        if made is not None:
            build.down(name)
        shutil.rmtree(directory, ignore_errors=True)


def find_registry(cache: Path) -> Path:
    """The rival: installed, or unpacked from Debian's package, which would start a service."""
    if found := shutil.which("docker-registry"):
        return Path(found)
    unpacked = cache / "docker-registry"
    program = unpacked / "usr/bin/docker-registry"
    if not program.exists():
        unpacked.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["apt-get", "download", "-q", "docker-registry"], cwd=unpacked, check=True, capture_output=True
        )
        package = next(unpacked.glob("docker-registry_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(package), str(unpacked)], check=True)
    return program
