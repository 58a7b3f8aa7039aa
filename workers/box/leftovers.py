"""Removing what instances left on this machine, when nobody is there any more to end them the usual way.

Only what carries this box's label, lies under its state directory or in its own chains is touched.
"""

from __future__ import annotations

import subprocess
from importlib import import_module
from pathlib import Path

from common.words import Role
from workers.box.config import BoxConfig

UNMOUNT_S = 20.0
STOP_GRACE_S = 2.0


def clean(config: BoxConfig) -> list[str]:
    """Remove containers, networks, rules and mounts of this box; returns what was removed, for people."""
    removed = _clean_engine(config) if Role.COMPUTE in config.roles else []
    return removed + _unmount_below(config.state_dir)


def _clean_engine(config: BoxConfig) -> list[str]:
    # Looked up here so that a box without the compute role needs no container engine.
    labels = {import_module("workers.compute.labels").LABEL_BOX: config.box}
    engine = import_module("workers.compute.engines").find_engine(config.engine_url)
    firewall = import_module("workers.compute.firewall").Firewall
    removed = []
    for container in engine.containers(labels):
        engine.stop(container.id, grace_s=STOP_GRACE_S)
        engine.remove(container.id)
        removed.append(f"container {container.id[:12]}")
    for name, network in engine.networks(labels).items():
        engine.remove_network(network)
        removed.append(f"network {name}")
    firewall(config.box, gateway_resolves=engine.gateway_resolves_names).remove()
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
