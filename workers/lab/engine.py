"""A container engine of its own for a box of the lab."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from common import unix_http
from workers.lab.commands import tail
from workers.lab.errors import LabError
from workers.lab.plan import LabState, Node, ProcessMark
from workers.lab.processes import start_inside, wait_for

READY_S = 60.0


def socket_path(state: LabState, node: Node) -> Path:
    """Where the engine of a box listens."""
    return state.run_dir(node) / "docker.sock"


def answers(state: LabState, node: Node) -> bool:
    """Whether the box's engine answers now."""
    return unix_http.answers(socket_path(state, node), "/_ping")


def require() -> None:
    """Raises LabError if there is no Docker Engine to start."""
    if shutil.which("dockerd") is None:
        raise LabError(
            "The program dockerd is missing, and a box with the compute role has an engine of its own.",
            remedy="Run: apt install docker.io; or make boxes without it: --roles filestore+depository.",
        )


def start(state: LabState, node: Node, init: ProcessMark) -> subprocess.Popen[bytes]:
    """Start the engine of a box; `wait_ready` tells when it can be used."""
    run_dir, data = state.run_dir(node), state.node_dir(node) / "engine"
    data.mkdir(parents=True, exist_ok=True)
    argv = [
        "dockerd", "--data-root", str(data), "--exec-root", str(run_dir / "exec"),
        "--host", f"unix://{socket_path(state, node)}", "--pidfile", str(run_dir / "docker.pid"),
        "--cgroup-parent", state.cgroup(node), "--exec-opt", "native.cgroupdriver=cgroupfs",
    ]  # fmt: skip
    return start_inside(init, argv, log_path(state, node))


def log_path(state: LabState, node: Node) -> Path:
    """Where the engine of a box writes its log."""
    return state.node_dir(node) / "engine.log"


def wait_ready(state: LabState, node: Node, process: subprocess.Popen[bytes]) -> None:
    """Wait until the engine answers; raises LabError with the end of its log if it ends or takes too long."""

    def ready() -> bool:
        if process.poll() is not None:
            raise LabError(f"The engine of {node.name} ended: {tail(log_path(state, node))}")
        return answers(state, node)

    wait_for(ready, READY_S, f"The engine of {node.name} did not answer")
