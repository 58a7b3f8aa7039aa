"""What this machine has, where its owner did not say what to lend."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

import psutil

from common.words import Resources
from workers.box.config import BoxConfig

NVIDIA_TIMEOUT_S = 5.0
RENDER_NODES = Path("/dev/dri")

# Names of the kernel → names of the OCI image specification ("Image Configuration", architecture).
_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}


def architecture(machine: str | None = None) -> str:
    """The processor architecture as container images name it: amd64, arm64, …"""
    name = machine or platform.machine()
    return _ARCHITECTURES.get(name, name)


def detect(config: BoxConfig) -> Resources:
    """What the box lends: the owner's word where there is one, else what the machine has."""
    memory = config.memory_bytes
    if memory is None:
        memory = psutil.virtual_memory().total * 9 // 10
    return Resources(
        cpu=config.cpu if config.cpu is not None else float(len(os.sched_getaffinity(0))),
        memory_bytes=memory,
        disk_bytes=lent_disk(config),
        bandwidth_bps=config.bandwidth_bps,
        gpu=config.gpu if config.gpu is not None else count_gpus(),
    )


def lent_disk(config: BoxConfig) -> int:
    """The lent space, but never more than the disk under the state directory has at all."""
    return min(config.lent_bytes, shutil.disk_usage(config.state_dir).total)


@cache
def nvidia_gpus() -> int:
    """Graphics processors that NVIDIA's driver names."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return 0
    try:
        listed = subprocess.run(
            [tool, "--list-gpus"], capture_output=True, text=True, timeout=NVIDIA_TIMEOUT_S, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return 0  # a driver without a card says so by failing
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def render_nodes(directory: Path = RENDER_NODES) -> list[Path]:
    """The kernel's devices for drawing without a screen, one per graphics processor of any make."""
    return sorted(directory.glob("renderD*"))


def count_gpus(directory: Path = RENDER_NODES) -> int:
    """Graphics processors: those that NVIDIA's driver names, else the kernel's render nodes."""
    return nvidia_gpus() or len(render_nodes(directory))


def load_per_core() -> float:
    """The run queue over one minute, for each core."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def temperature_c() -> float | None:
    """The hottest sensor of the machine, if it has any."""
    readings = [
        reading.current
        for readings in psutil.sensors_temperatures().values()
        for reading in readings
        if reading.current
    ]
    return max(readings, default=None)
