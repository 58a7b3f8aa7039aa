"""The container engine: one that runs already, or a Docker Engine of our own under the state directory."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from common import needs
from common.errors import Unavailable
from common.logs import get_logger
from common.supervision import Program
from common.unix_http import answers
from master.up.layout import Layout

log = get_logger(__name__)

DEFAULT_SOCKET = Path("/var/run/docker.sock")
START_S = 60.0
UMOUNT_S = 10.0

_MOUNTS = Path("/proc/self/mounts")
_DEFAULT_BRIDGE = Path("/sys/class/net/docker0")
POLL_S = 0.1


def running() -> str | None:
    """The URL of an engine that answers now; raises Unavailable if `DOCKER_HOST` names one that does not."""
    named = os.environ.get("DOCKER_HOST", "")
    if named:
        path = Path(named.removeprefix("unix://"))
        if named.startswith("unix://") and answers(path, "/_ping"):
            return named
        raise Unavailable(
            f"No container engine answers at {named} (DOCKER_HOST).",
            remedy="Start it, or unset DOCKER_HOST to use the one of this machine. "
            "Only Unix sockets (unix://…) are supported.",
        )
    return f"unix://{DEFAULT_SOCKET}" if answers(DEFAULT_SOCKET, "/_ping") else None


def own_url(layout: Layout) -> str:
    """Where an engine of our own answers."""
    return f"unix://{layout.engine_socket}"


def choose(layout: Layout) -> str:
    """The engine to use. One of our own that has been used before stays: its images are in it."""
    if (layout.engine / "data").exists():
        return own_url(layout)
    return running() or own_url(layout)


def answering(layout: Layout) -> str:
    """The engine to use, which has to run already. Raises Unavailable."""
    url = choose(layout)
    if answers(Path(url.removeprefix("unix://")), "/_ping"):
        return url
    raise Unavailable(
        f"No container engine answers at {url}, and the images of samples are built by one.",
        remedy="Start Docker, or name an engine: DOCKER_HOST=unix://SOCKET. That of a platform which "
        "started one itself is STATE_DIRECTORY/engine/docker.sock.",
    )


def program(layout: Layout) -> Program:
    """A Docker Engine of our own, apart from every other. Raises Unavailable if this machine cannot run one."""
    if os.geteuid() != 0:
        raise Unavailable(
            "No container engine answers, and starting one needs root.",
            remedy="Start Docker (systemctl start docker) or run openraas up as root.",
        )
    needs.require([needs.DOCKERD, needs.IPTABLES])
    layout.engine.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = (
        needs.find(needs.DOCKERD) or needs.DOCKERD.command,
        *("--host", own_url(layout)),
        *("--data-root", str(layout.engine / "data")),
        *("--exec-root", str(layout.engine / "run")),
        *("--pidfile", str(layout.engine / "docker.pid")),
        # Instances get networks of their own. Without a default bridge the engine removes docker0, so where
        # there is one, which may be another engine's, it stays in use.
        *(() if _DEFAULT_BRIDGE.exists() else ("--bridge", "none")),
        "--log-level=warn",
    )
    return Program("engine", command, priority=10, stop_wait_s=30)


def let_go(layout: Layout) -> None:
    """An engine leaves its network namespace mounted, and one that was ended early its data too: undo that."""
    mounted = [line.split()[1] for line in _MOUNTS.read_text().splitlines()]
    for path in sorted((item for item in mounted if item.startswith(f"{layout.engine}/")), reverse=True):
        done = subprocess.run(["umount", path], capture_output=True, text=True, timeout=UMOUNT_S, check=False)
        if done.returncode:
            log.warning("a mount of the engine stays", path=path, error=done.stderr.strip())


def wait(layout: Layout, *, limit_s: float = START_S) -> None:
    """Until our own engine answers. Raises Unavailable."""
    deadline = time.monotonic() + limit_s
    while not answers(layout.engine_socket, "/_ping"):
        if time.monotonic() > deadline:
            raise Unavailable(
                "The Docker Engine did not start.", remedy=f"Look into {layout.master.logs / 'engine.log'}."
            )
        time.sleep(POLL_S)
