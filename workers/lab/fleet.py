"""A lab that exists: its nodes, and what can be done to them."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.words import Role
from workers.lab import delay, engine
from workers.lab import master as masters
from workers.lab.commands import OPENRAAS, run, tail
from workers.lab.errors import LabError
from workers.lab.master import Master
from workers.lab.network import NAMESPACES, Network, delay_device
from workers.lab.plan import RUN, LabState, Node, ProcessMark, load, save
from workers.lab.processes import (
    alive,
    inside,
    kill_node,
    node_environment,
    start_init,
    start_inside,
    wait_for,
)

JOIN_S = 60.0
ONLINE_S = 90.0
ASK_EVERY_S = 0.5


@dataclass(frozen=True)
class NodeStatus:
    """How a node is, by what the kernel says and not by what was noted down."""

    node: Node
    address: str
    running: bool
    cut: bool
    engine: bool | None

    @property
    def word(self) -> str:
        """One word for people."""
        if not self.running:
            return "killed"
        return "cut" if self.cut else "up"


class Lab:
    """A lab that exists. Every method may be called again after it failed half-way."""

    def __init__(self, state: LabState) -> None:
        self.state = state
        self.network = Network(state)

    @classmethod
    def open(cls, lab: str) -> Lab:
        """The lab of that id; raises NotFound."""
        return cls(load(lab))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other processes from changing the same lab meanwhile."""
        directory = RUN / f"{self.state.lab}.run"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.state = load(self.state.lab)  # as the last one left it
            yield

    def note(self, state: LabState) -> None:
        """Remember this state of the lab, here and on disk."""
        self.state = state
        save(state)

    def boot(self, node: Node) -> ProcessMark:
        """Put a node on the network and start its first process; what runs already is left."""
        if node.init is not None and alive(node.init):
            return node.init
        self.note(self.state.with_node(node))
        namespace = self.state.namespace(node)
        self.network.attach(namespace, node.number, node.link)
        self.state.node_dir(node).mkdir(parents=True, exist_ok=True, mode=0o700)
        # As /run of a machine that starts: a process file of before would name whoever has the number now.
        run_dir = self.state.run_dir(node)
        if run_dir.exists():
            shutil.rmtree(run_dir)
        run_dir.mkdir(parents=True, mode=0o700)
        log = self.state.node_dir(node) / "init.log"
        init = start_init(NAMESPACES / namespace, node.name, log)
        if node.link.delay_ms:
            self._delay(node, init)
        self.note(self.state.with_node(node.model_copy(update={"init": init})))
        return init

    def _delay(self, node: Node, init: ProcessMark) -> None:
        """Make the node's link longer, by a program that ends with the node."""
        device, seconds = delay_device(node.number), str(node.link.delay_ms / 1000)
        command = [sys.executable, "-I", delay.__file__, device, seconds]
        log = self.state.node_dir(node) / "delay.log"
        process = start_inside(init, ["nsenter", f"--net={self.network.router}", *command], log)
        try:
            self.network.delay(node.number)
        except LabError as error:
            raise LabError(
                f"{error.message} The link of {node.name} cannot be delayed ({process.poll()}): {tail(log)}",
                remedy=f"A delayed link needs {delay.TUN}: modprobe tun.",
            ) from error

    def join(self, box: Node, token: str, options: Sequence[str] = ()) -> None:
        """Let a box join the lab's master, by the command that every box uses."""
        argv = [
            *OPENRAAS, "box", "join", f"https://{Master(self.state).address}", "-",
            "--state-dir", str(self.box_dir(box)), "--name", box.name,
            "--roles", ",".join(sorted(box.roles)), "--address", self.state.address(box),
        ]  # fmt: skip
        if Role.COMPUTE in box.roles:
            argv += ["--engine", f"unix://{engine.socket_path(self.state, box)}"]
        if box.link.uplink_bps is not None:
            argv += ["--bandwidth", f"{box.link.uplink_bps}bit"]
        # The token goes in by standard input, where no list of processes shows it.
        run(
            *self.inside(box, [*argv, *options]), env=node_environment(), timeout_s=JOIN_S, stdin=f"{token}\n"
        )

    def start_box(self, box: Node) -> subprocess.Popen[bytes]:
        """Start the box's own programs."""
        argv = [*OPENRAAS, "box", "run", "--state-dir", str(self.box_dir(box))]
        return start_inside(self.init_of(box), argv, self.box_log(box))

    def box_dir(self, box: Node) -> Path:
        """The state directory of the box."""
        return self.state.node_dir(box) / "box"

    def box_log(self, box: Node) -> Path:
        """What `openraas box run` says."""
        return self.state.node_dir(box) / "box.log"

    def init_of(self, node: Node) -> ProcessMark:
        """The first process of a node; raises LabError if there never was one."""
        init = self.state.find(node.name).init
        if init is None:
            raise LabError(f"{node.name} was never started.", remedy="Remove the lab: openraas lab down.")
        return init

    def inside(self, node: Node, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on a node."""
        return inside(self.init_of(node), argv)

    def cut(self, name: str) -> None:
        """Break the link of a box (or of the lab's own master): it runs on, but nothing gets through."""
        with self.changing():
            self.network.cut(self.state.find(name).number)

    def kill(self, name: str) -> None:
        """End a box as if it lost power: its processes, containers, mounts and addresses are gone at once."""
        with self.changing():
            box = self.state.find(name)
            kill_node(box.init)
            self.network.detach(self.state.namespace(box), box.number)

    def heal(self, name: str) -> None:
        """Mend a box: its link works again, and if it was killed, it starts with what is on its disk."""
        with self.changing():
            box = self.state.find(name)
            self.network.mend(box.number)
            if not alive(box.init):
                self.start([box])
                if box.is_box:
                    self.wait_online([box.name])

    def status(self) -> list[NodeStatus]:
        """How all nodes are."""
        return [
            NodeStatus(
                node=node,
                address=self.state.address(node),
                running=alive(node.init),
                cut=self.network.is_cut(node.number),
                engine=engine.answers(self.state, node) if Role.COMPUTE in node.roles else None,
            )
            for node in sorted(self.state.nodes.values(), key=lambda node: node.number)
        ]

    def start(self, nodes: Sequence[Node]) -> None:
        """Boot nodes, and start their engines and then their programs."""
        inits = {box.name: self.boot(box) for box in nodes}
        for node in nodes:
            if node.name == masters.OWN_NAME:
                process = masters.start(self.state, node, inits[node.name])
                Master(self.state).wait_ready(process, masters.log_path(self.state, node))
        engines = [
            (box, engine.start(self.state, box, inits[box.name]))
            for box in nodes
            if Role.COMPUTE in box.roles
        ]
        for box, process in engines:
            engine.wait_ready(self.state, box, process)
        for box in nodes:
            if (self.box_dir(box) / "identity.json").exists():
                self.start_box(box)

    def wait_online(self, names: Sequence[str]) -> None:
        """Wait until the master sees the boxes; raises LabError with the log of one that it does not see."""
        master = Master(self.state)
        missing = set(names)

        def all_there() -> bool:
            missing.difference_update(master.online())
            return not missing

        try:
            wait_for(all_there, ONLINE_S, "The master does not see all boxes", ASK_EVERY_S)
        except LabError as error:
            box = self.state.find(min(missing))
            raise LabError(f"{error.message} {box.name} is missing.\n{self.last_words(box)}") from error

    def last_words(self, box: Node) -> str:
        """The end of every log of a box, for the message of an error."""
        logs = [self.box_log(box), *sorted((self.box_dir(box) / "logs").glob("*.log"))]
        return "\n".join(f"{log.name}: {tail(log)}" for log in logs if log.exists() and log.stat().st_size)
