"""One timed pull: when its last byte arrived, and when the engine had the image."""

from __future__ import annotations

import hashlib
import http.client
import mmap
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from common.wishes import ImageSource
from tests.benchmarks.layers.boxes import LOOPBACK_PORT
from tests.benchmarks.layers.image import REPOSITORY, Image
from tests.benchmarks.layers.world import REGISTRY_PORT, Machine

SAMPLE_S = 0.01
# What came when so much of the final count was there is taken for all: acknowledgements trickle on.
ALL = 0.997
PULL_S = 600.0
# So much of what is free: the kernel chooses which pages a write gets.
TOUCHED = 0.85
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Times:
    """Seconds since the wish."""

    bytes_s: float
    ready_s: float
    received_bytes: int


class Meter:
    """Watches a machine's link from its making to `end`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._began = time.monotonic()
        self._samples = [(0.0, machine.received_bytes())]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            self._samples.append((self.now(), self._machine.received_bytes()))

    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def end(self) -> Times:
        """The times, as of now."""
        ready = self.now()
        self._stopped.set()
        self._thread.join()
        base, last = self._samples[0][1], self._samples[-1][1]
        enough = base + ALL * (last - base)
        arrived = next(at for at, count in self._samples if count >= enough)
        return Times(arrived, ready, last - base)


def touch_memory() -> None:
    """Have memory at hand for what comes next.

    The host of a virtual machine may take back what is free after some seconds. Giving it again costs 2.5 s of
    processor time per GB, which falls on whoever writes first, and by chance.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, int(psutil.virtual_memory().free * TOUCHED), flags=flags).close()


def ours(machine: Machine, source: ImageSource, meanwhile: Callable[[], None] = lambda: None) -> Times:
    """A pull through the box's own endpoint."""
    touch_memory()
    meter = Meter(machine)
    machine.layers.plan(source)
    return _pull(machine, f"127.0.0.1:{LOOPBACK_PORT}/{REPOSITORY}@{source.manifest}", meter, meanwhile)


def rivals(machine: Machine, image: Image, registry: str) -> Times:
    """A pull from a registry."""
    touch_memory()
    meter = Meter(machine)
    return _pull(machine, f"{registry}:{REGISTRY_PORT}/{REPOSITORY}@{image.digest}", meter, lambda: None)


def _pull(machine: Machine, reference: str, meter: Meter, meanwhile: Callable[[], None]) -> Times:
    command = ["/usr/bin/docker", "--host", f"unix://{machine.socket}", "pull", "--quiet", reference]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    meanwhile()
    _, said = process.communicate(timeout=PULL_S)
    times = meter.end()
    if process.returncode:
        log = (machine.directory / "front.log").read_text()[-3000:]
        raise RuntimeError(f"pull of {reference} failed: {said.decode()}\n{log}")
    return times


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def peak_bytes(pid: int) -> int:
    """The most that a process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has gone")


def floor_s(machine: Machine, source: ImageSource) -> float:
    """Processor time of nothing but receiving the image over TLS and hashing it twice."""
    (endpoint,) = source.endpoints.values()
    context = ssl.create_default_context(cafile=str(machine.paths.authority))
    connection = http.client.HTTPSConnection(endpoint.host, endpoint.port, context=context, timeout=PULL_S)
    buffer = memoryview(bytearray(256 * 1024))
    began = time.process_time()
    for blob in source.blobs:
        once, twice = hashlib.sha256(), hashlib.sha256()
        headers = {"Authorization": f"Bearer {source.ticket}"}
        connection.request("GET", f"/v2/{REPOSITORY}/blobs/{blob.digest}", headers=headers)
        answer = connection.getresponse()
        while count := answer.readinto(buffer):
            once.update(buffer[:count])
            twice.update(buffer[:count])
    took = time.process_time() - began
    connection.close()
    return took
