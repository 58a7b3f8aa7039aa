"""How fast filesets are, near and far: SSHFS as this project mounts it, beside rclone's WebDAV over TLS.

Both serve the same directory, are mounted anew for every run and take turns; the far case goes through a proxy
with 20 ms of round trip. A write counts as done when the server has all of it, since that is what another box
would find. Ratios are the rival's time over ours: above 1 ours is faster. Run by `make bench-files`; needs root.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from common.words import Endpoint, MountMode
from tests.benchmarks.lines import Case, report
from tests.support.delay_proxy import delayed
from tests.support.redis import free_port
from workers.box.config import BoxConfig, BoxPaths
from workers.compute import mount_points
from workers.compute.mount_keys import KeyDirectory
from workers.filestore import protocols
from workers.filestore.processes import Process, kill
from workers.filestore.protocols import Admission, Grant, Remote

LIMIT_S = 20.0
UID = 200_000
MIB = 2**20
MOUNT_MOST_MS = 200.0
SMALL_BYTES = 1024
RCLONE = ["--config", "/dev/null", "--no-check-certificate", "-q"]

# (port) -> a mount while the context lasts
System = Callable[[int], AbstractContextManager[Path]]


@dataclass(frozen=True)
class Amounts:
    """How much is moved."""

    large_bytes: int
    files: int


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until it is true; ends the benchmark after LIMIT_S."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"{what} did not come within {LIMIT_S:g} s")
        time.sleep(0.001)


def listens(port: int) -> bool:
    """Whether somebody answers there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def ended(command: list[str], port: int) -> Iterator[None]:
    """A server while the context lasts."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: listens(port), command[0])
        yield
    finally:
        process.terminate()
        process.wait(LIMIT_S)


@contextmanager
def sshfs(scratch: Path, tree: Path) -> Iterator[tuple[System, int]]:
    """Our server, and how to mount from it."""
    config = BoxConfig(box="bench", state_dir=scratch / "state", filestore_port=free_port())
    server = protocols.server("sshfs", config, BoxPaths(config.state_dir))
    client = protocols.client("sshfs")
    server.prepare()
    keys = KeyDirectory(scratch / "keys")
    server.open(Grant("bench", tree, UID, MountMode.READ_WRITE))
    server.admit([Admission("bench", keys.newest(), None)])
    host_key = server.host_key()

    @contextmanager
    def mounted(port: int) -> Iterator[Path]:
        point = Path(tempfile.mkdtemp(dir=scratch))
        endpoint = Endpoint(host="127.0.0.1", port=port)
        remote = Remote(endpoint, host_key, MountMode.READ_WRITE, keys.private())
        daemon: Process = client.mount(remote, keys.path, point, limit_s=LIMIT_S)
        try:
            yield point
        finally:
            mount_points.detach(point)
            kill(daemon, signal.SIGKILL)
            wait_for(lambda: not daemon.lives, "the end of sshfs")

    with ended(server.command(), config.filestore_port):
        yield mounted, config.filestore_port


@contextmanager
def webdav(scratch: Path, tree: Path, rclone: str) -> Iterator[tuple[System, int]]:
    """The rival's server, and how to mount from it."""
    port, cert, key = free_port(), scratch / "cert.pem", scratch / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    serve = [
        rclone,
        "serve",
        "webdav",
        str(tree),
        "--addr",
        f"127.0.0.1:{port}",
        "--cert",
        str(cert),
        "--key",
        str(key),
    ]
    # Listings as fresh as ours, uploads at once, no pause between requests where this version can do without.
    options = [
        "--allow-other",
        "--vfs-cache-mode",
        "writes",
        "--vfs-write-back",
        "0s",
        "--dir-cache-time",
        "2s",
    ]
    if (
        "--webdav-pacer-min-sleep"
        in subprocess.run([rclone, "help", "flags"], capture_output=True, text=True).stdout
    ):
        options += ["--webdav-pacer-min-sleep", "0"]

    @contextmanager
    def mounted(through: int) -> Iterator[Path]:
        point, cache = Path(tempfile.mkdtemp(dir=scratch)), Path(tempfile.mkdtemp(dir=scratch))
        command = [rclone, "mount", ":webdav:", str(point), "--webdav-url", f"https://127.0.0.1:{through}"]
        process = subprocess.Popen(
            [*command, "--cache-dir", str(cache), *options, *RCLONE], stderr=subprocess.DEVNULL
        )
        try:
            wait_for(lambda: mount_points.layers(point) > 0, "rclone's mount")
            yield point
        finally:
            mount_points.detach(point)
            process.terminate()
            process.wait(LIMIT_S)
            shutil.rmtree(cache)

    with ended([*serve, *RCLONE], port):
        yield mounted, port


def owned(path: Path) -> None:
    """Let the fileset's user have it."""
    os.chown(path, UID, UID)


class Work:
    """What is timed. Each method works through a mount and returns seconds."""

    def __init__(self, tree: Path, amounts: Amounts) -> None:
        self._tree, self._amounts = tree, amounts
        self._content = os.urandom(MIB)
        self._made = 0
        (tree / "small").mkdir(parents=True)
        for name in ("", "small"):
            owned(tree / name)
        with (tree / "large").open("wb") as file:
            for _ in range(amounts.large_bytes // MIB):
                file.write(self._content)
        for number in range(amounts.files):
            (tree / "small" / str(number)).write_bytes(self._content[:SMALL_BYTES])

    def mount(self, mounted: System, port: int) -> float:
        """From the wish to the first listing."""
        began = time.monotonic()
        with mounted(port) as point:
            next(point.iterdir())
            return time.monotonic() - began

    def read(self, mounted: System, port: int) -> float:
        """One large file from its beginning to its end."""
        with mounted(port) as point, (point / "large").open("rb", buffering=0) as file:
            began = time.monotonic()
            while file.read(MIB):
                pass
            return time.monotonic() - began

    def write(self, mounted: System, port: int) -> float:
        """One large file until the server has it."""
        arrived = self._fresh()
        with mounted(port) as point:
            began = time.monotonic()
            with (point / arrived.name).open("wb", buffering=0) as file:
                for _ in range(self._amounts.large_bytes // MIB):
                    file.write(self._content)
            size = self._amounts.large_bytes // MIB * MIB
            wait_for(lambda: arrived.exists() and arrived.stat().st_size == size, "the file on the server")
            took = time.monotonic() - began
        arrived.unlink()
        return took

    def read_small(self, mounted: System, port: int) -> float:
        """List a directory and read every file in it."""
        with mounted(port) as point:
            began = time.monotonic()
            for entry in (point / "small").iterdir():
                entry.read_bytes()
            return time.monotonic() - began

    def write_small(self, mounted: System, port: int) -> float:
        """Make a directory of small files until the server has all of them."""
        arrived = self._fresh()
        with mounted(port) as point:
            began = time.monotonic()
            (point / arrived.name).mkdir()
            for number in range(self._amounts.files):
                (point / arrived.name / str(number)).write_bytes(self._content[:SMALL_BYTES])
            wait_for(lambda: self._all_arrived(arrived), "the files on the server")
            took = time.monotonic() - began
        shutil.rmtree(arrived)
        return took

    def _fresh(self) -> Path:
        """A name that was never used: the rival's server remembers what it has seen."""
        self._made += 1
        return self._tree / f"new-{self._made}"

    def _all_arrived(self, directory: Path) -> bool:
        found = list(directory.iterdir()) if directory.exists() else []
        return len(found) == self._amounts.files and all(
            entry.stat().st_size == SMALL_BYTES for entry in found
        )


def compare(
    name: str,
    work: Callable[[System, int], float],
    ours: tuple[System, int],
    rival: tuple[System, int],
    rounds: int,
) -> tuple[list[float], list[float]]:
    """Times of both, taking turns."""
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        mine.append(work(*ours))
        theirs.append(work(*rival))
    print(f"{name}: ours {median(mine):.3f} s, rival {median(theirs):.3f} s", flush=True)
    return mine, theirs


def run(options: argparse.Namespace, scratch: Path) -> list[Case]:
    """All cases at all distances."""
    local = Path(sys.executable).with_name("rclone")
    rclone = str(local) if local.exists() else shutil.which("rclone") or sys.exit("rclone is not installed")
    version = subprocess.run([rclone, "version"], capture_output=True, text=True).stdout.split()[1]
    rival_name = f"rclone {version} webdav+tls"
    cases = []
    for round_trip_ms, amounts in (
        (0, Amounts(options.megabytes * MIB, options.files)),
        (20, Amounts(options.far_megabytes * MIB, options.far_files)),
    ):
        place = scratch / str(round_trip_ms)
        place.mkdir()
        tree = place / "tree"
        work = Work(tree, amounts)
        with (
            sshfs(place, tree) as (mount_ours, our_port),
            webdav(place, tree, rclone) as (mount_rival, rival_port),
        ):
            far = round_trip_ms / 1000
            with delayed(our_port, far) as ours, delayed(rival_port, far) as rival:
                steps: dict[str, Callable[[System, int], float]] = {
                    "mount": work.mount,
                    f"read {amounts.large_bytes // MIB} MiB": work.read,
                    f"write {amounts.large_bytes // MIB} MiB": work.write,
                    f"read {amounts.files} small files": work.read_small,
                    f"write {amounts.files} small files": work.write_small,
                }
                for step, timed in steps.items():
                    name = f"{step} at {round_trip_ms} ms"
                    mine, theirs = compare(
                        name, timed, (mount_ours, ours), (mount_rival, rival), options.rounds
                    )
                    ratios = [other / own for own, other in zip(mine, theirs, strict=True)]
                    cases.append(Case(name, median(ratios), "x", rival_name, ratios))
                    if step == "mount" and round_trip_ms == 0:
                        times = [own * 1000 for own in mine]
                        cases.append(
                            Case("time to mount", median(times), "ms", "none", times, at_most=MOUNT_MOST_MS)
                        )
    return cases


def main() -> int:
    """Exit code 1 if a mount takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--far-megabytes", type=int, default=100)
    parser.add_argument("--far-files", type=int, default=100)
    with tempfile.TemporaryDirectory(prefix="openraas-bench-files-") as scratch:
        return report(run(parser.parse_args(), Path(scratch)))


if __name__ == "__main__":
    sys.exit(main())
