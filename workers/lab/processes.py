"""A node's processes: started in namespaces of its own, ended all at once, never mistaken for others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from workers.lab import init
from workers.lab.commands import tail
from workers.lab.errors import LabError
from workers.lab.plan import ProcessMark

# Engines of this machine. A node sees its files, and must not take one of these for an engine of its own.
HOST_ENGINES = ("/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")
_BOOT = (
    'name=$1; shift; while [ "$1" != -- ]; do [ ! -e "$1" ] || mount --bind /dev/null "$1"; shift; done; '
    'shift; hostname "$name" && exec "$@"'
)
INIT_S = 10.0
KILL_S = 20.0
POLL_S = 0.02


def mark(pid: int) -> ProcessMark | None:
    """How to know this process again; none if it does not run (a zombie does not)."""
    try:
        # The name in field 2 may hold anything, so fields count from its closing bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else ProcessMark(pid=pid, started=int(fields[19]))


def alive(process: ProcessMark | None) -> bool:
    """Whether this very process runs."""
    return process is not None and mark(process.pid) == process


def wait_for(condition: Callable[[], bool], limit_s: float, what: str, pause_s: float = POLL_S) -> None:
    """Wait until `condition` holds; raises LabError that says what did not happen in time."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise LabError(f"{what} within {limit_s:.0f} s.")
        time.sleep(pause_s)


def start_init(namespace: Path, hostname: str, log: Path) -> ProcessMark:
    """Start a node's first process in its network namespace and in new ones for all the rest.

    Mounts that the node makes are seen by nobody else and go with its last process. `ip netns exec` would do
    half of this, but hides the control groups, without which no container engine starts.
    """
    enter = ["nsenter", f"--net={namespace}"]
    new = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc",
           "--propagation", "slave"]  # fmt: skip
    boot = ["sh", "-ec", _BOOT, "sh", hostname, *HOST_ENGINES, "--", sys.executable, "-I", init.__file__]
    with log.open("ab") as output:
        outer = subprocess.Popen(
            [*enter, *new, *boot],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
        )  # fmt: skip
    found: list[ProcessMark] = []

    def started() -> bool:
        if outer.poll() is not None:
            raise LabError(f"The first process of {hostname} ended at once: {tail(log)}")
        found[:] = [child for child in _children(outer.pid) if _is_init(child.pid)]
        return bool(found)

    wait_for(started, INIT_S, f"The first process of {hostname} did not start")
    return found[0]


def _children(parent: int) -> list[ProcessMark]:
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [child for pid in text.split() if (child := mark(int(pid))) is not None]


def _is_init(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return init.__file__.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def inside(process: ProcessMark, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` inside a node; raises LabError if the node does not run."""
    if not alive(process):
        raise LabError("This node of the lab does not run.", remedy="Start it again: openraas lab heal BOX.")
    spaces = ["--net", "--mount", "--uts", "--ipc", "--pid"]
    return ["nsenter", "--target", str(process.pid), *spaces, "--", *argv]


def start_inside(
    process: ProcessMark, argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a long-running program inside a node, its output in `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            inside(process, argv),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
            env={**node_environment(), **(environment or {})},
        )  # fmt: skip


def node_environment() -> dict[str, str]:
    """The environment of a node's programs: none of the settings of whoever started the lab."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name in kept}


def kill_node(process: ProcessMark | None) -> None:
    """End every process of a node at once, as if it lost power; raises LabError if one survives."""
    if process is None:
        return
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if not alive(process):  # compared after the handle was made, so the number cannot change hands
            return
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)
    # The kernel lets a first process go only after all others of its namespace have gone.
    wait_for(lambda: not alive(process), KILL_S, f"Process {process.pid} did not end")


def kill_namespace(name: Path) -> None:
    """End whatever still runs in a network namespace: what a crash kept from being written down."""
    try:
        wanted = name.stat()
    except FileNotFoundError:
        return

    def inhabitants() -> list[ProcessMark]:
        return [found for pid in _in_namespace((wanted.st_dev, wanted.st_ino)) if (found := mark(pid))]

    def all_gone() -> bool:
        left = inhabitants()
        for process in left:
            kill_node(process)
        return not left

    wait_for(all_gone, KILL_S, f"Processes in {name} did not end")


def _in_namespace(wanted: tuple[int, int]) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                there = (entry / "ns/net").stat()
                if (there.st_dev, there.st_ino) == wanted:
                    found.append(int(entry.name))
    return found
