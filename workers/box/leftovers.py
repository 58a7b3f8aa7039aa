"""Removing what instances left on this machine, when nobody is there any more to end them the usual way.

Only what carries this box's label, lies under its state directory or in its own chains is touched.
"""

from __future__ import annotations

import socket
import subprocess
from importlib import import_module
from pathlib import Path

from common.errors import Unavailable
from common.logs import get_logger
from common.words import Role
from workers.box.config import BoxConfig

log = get_logger(__name__)

UNMOUNT_S = 20.0
STOP_GRACE_S = 2.0
LINK_S = 20.0


def clean(config: BoxConfig) -> list[str]:
    """Remove containers, networks, rules and mounts of this box; returns what was removed, for people."""
    removed = _clean_compute(config) if Role.COMPUTE in config.roles else []
    return removed + _unmount_below(config.state_dir)


def _clean_compute(config: BoxConfig) -> list[str]:
    # Looked up here so that a box without the compute role needs no container engine.
    firewall = import_module("workers.compute.firewall")
    prefix = firewall.bridge_prefix(config)
    try:
        removed = _clean_engine(config)
    except Unavailable as error:
        # An engine that is gone takes its containers with it, but leaves the kernel's part of their networks.
        log.warning("engine not asked for containers and networks", error=str(error))
        removed = []
    removed += _remove_bridges(prefix)
    firewall.Firewall(prefix, gateway_resolves=False).remove()
    return removed


def _clean_engine(config: BoxConfig) -> list[str]:
    labels = {import_module("workers.compute.labels").LABEL_BOX: config.box}
    engine = import_module("workers.compute.engines").find_engine(config.engine_url)
    removed = []
    for container in engine.containers(labels):
        engine.stop(container.id, grace_s=STOP_GRACE_S)
        engine.remove(container.id)
        removed.append(f"container {container.id[:12]}")
    for name, network in engine.networks(labels).items():
        engine.remove_network(network)
        removed.append(f"network {name}")
    return removed


def _remove_bridges(prefix: str) -> list[str]:
    removed = []
    for _, name in socket.if_nameindex():
        if not name.startswith(prefix):
            continue
        command = ("ip", "link", "delete", name)
        done = subprocess.run(command, capture_output=True, timeout=LINK_S, check=False)
        if done.returncode == 0:
            removed.append(f"bridge {name}")
    return removed


def _unmount_below(folder: Path) -> list[str]:
    """Unmount everything under a folder, the innermost first; a mount daemon ends with its mount."""
    removed = []
    for point in reversed(mounts_below(folder)):
        done = subprocess.run(
            ("umount", "--lazy", str(point)), capture_output=True, timeout=UNMOUNT_S, check=False
        )
        if done.returncode == 0:
            removed.append(f"mount {point}")
    return removed


def mounts_below(folder: Path, table: Path = Path("/proc/self/mountinfo")) -> list[Path]:
    """Mount points under a folder, in the order in which they were mounted (proc(5), "mountinfo")."""
    points = []
    for line in table.read_text().splitlines():
        point = Path(line.split(" ")[4].encode().decode("unicode_escape"))
        if folder in point.parents:
            points.append(point)
    return points
