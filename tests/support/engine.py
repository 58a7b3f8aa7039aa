"""A private Docker engine for tests: its own data, socket and containerd, ended and removed afterwards."""

from __future__ import annotations

import fcntl
import io
import re
import secrets
import shutil
import subprocess
import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import docker
import docker.errors
import psutil
import pytest

from common.unix_http import answers
from tests.support.redis import wait_until

START_LIMIT_S = 60.0
# Other engines of test runs on this machine have bridges too.
BRIDGE_TRIES = 16
# Long paths do not fit into socket addresses, so not under pytest's own directory.
ROOT = Path(tempfile.gettempdir())
# Of this project's networks, and of those that got no name from us.
_BRIDGE = re.compile(rb"\b(?:orst[0-9a-f]{1,2}|(?:ors|br-)[0-9a-f]{12})\b")


@dataclass(frozen=True)
class EngineServer:
    """Where a private engine answers; `namespace` is the network namespace that it lives in, if any."""

    url: str
    socket: Path
    namespace: str | None = None


@contextmanager
def run_engine(namespace: str | None = None) -> Iterator[EngineServer]:
    """Start dockerd. In this machine's own network it leaves the packet filter alone: others use it too."""
    if shutil.which("dockerd") is None:
        pytest.skip("dockerd is not installed")
    _sweep()
    directory = Path(tempfile.mkdtemp(prefix="orsdocker-", dir=ROOT))
    socket = directory / "d.sock"
    command = ["dockerd", "--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec",
               "--pidfile", f"{directory}/pid", "-H", f"unix://{socket}",
               "--userland-proxy=false", "--shutdown-timeout", "3"]  # fmt: skip
    if namespace is None:
        bridge = _make_bridge()
        (directory / "bridge").write_text(bridge)
        command += ["--iptables=false", "--ip6tables=false", "--bridge", bridge]
    else:
        command = ["nsenter", f"--net=/run/netns/{namespace}", *command, "--bridge", "none"]
    log = (directory / "log").open("wb")
    lock = _lock(directory)
    # Ends with the test run, however that ends.
    process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], stdout=log, stderr=log)
    try:
        wait_until(
            lambda: process.poll() is not None or answers(socket, "/_ping"), START_LIMIT_S, "dockerd's answer"
        )
        if process.poll() is not None:
            pytest.skip(f"dockerd does not start here: {(directory / 'log').read_text()[-500:]}")
        yield EngineServer(f"unix://{socket}", socket, namespace)
    finally:
        if process.poll() is None:
            _empty(f"unix://{socket}")
        process.terminate()
        process.wait(30)
        log.close()
        _clear(directory)
        lock.close()


def _lock(directory: Path) -> IO[bytes]:
    """A lock that says that the engine of this directory belongs to a test run that lives."""
    file = (directory / "lock").open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _sweep() -> None:
    """Remove what engines left whose test run was killed."""
    for lock in ROOT.glob("orsdocker-*/lock"):
        with suppress(OSError), lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _clear(lock.parent)


def _clear(directory: Path) -> None:
    """Remove what an engine leaves that did not end by itself, by its own records: nothing of another's."""
    _end_programs_of(directory)
    for records in (directory / "data/network/files/local-kv.db", directory / "bridge"):
        with suppress(FileNotFoundError):
            for name in set(_BRIDGE.findall(records.read_bytes())):
                _delete_link(name.decode())
    _unmount_below(directory)
    shutil.rmtree(directory, ignore_errors=True)


def _delete_link(name: str) -> None:
    subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)


def _make_bridge() -> str:
    """A bridge for an engine in this machine's own network. Without one, dockerd would take docker0 away."""
    for number in secrets.SystemRandom().sample(range(256), BRIDGE_TRIES):
        name = f"orst{number:x}"
        added = subprocess.run(
            ["ip", "link", "add", name, "type", "bridge"], capture_output=True, text=True, check=False
        )
        if added.returncode == 0:
            # From the range for measurements (RFC 2544), where nobody lives.
            subprocess.run(["ip", "address", "add", f"198.18.{number}.1/28", "dev", name], check=True)
            return name
        if "File exists" not in added.stderr:
            break
    pytest.fail(f"no bridge for an engine: {added.stderr}")


@contextmanager
def run_podman() -> Iterator[EngineServer]:
    """Podman's Docker-compatible service with its own storage."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    directory = Path(tempfile.mkdtemp(prefix="orspodman-", dir=ROOT))
    socket = directory / "p.sock"
    places = ["--root", f"{directory}/data", "--runroot", f"{directory}/run", "--network-config-dir",
              f"{directory}/net", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]  # fmt: skip
    (directory / "net").mkdir()
    process = subprocess.Popen(
        ["podman", *places, "system", "service", "--time", "0", f"unix://{socket}"],
        cwd=directory,  # conmon leaves a file there when a container runs out of memory
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: answers(socket, "/_ping"), START_LIMIT_S, "podman's answer")
        yield EngineServer(f"unix://{socket}", socket)
    finally:
        process.terminate()
        process.wait(30)
        subprocess.run(["podman", *places, "rm", "-af"], capture_output=True, check=False)
        _end_programs_of(directory)
        _unmount_below(directory)
        shutil.rmtree(directory, ignore_errors=True)


def _empty(url: str) -> None:
    """Remove every container and network: dockerd leaves its bridges behind when it ends."""
    try:
        client = docker.DockerClient(url)
        for container in client.containers.list(all=True):
            container.remove(force=True, v=True)
        client.networks.prune()
    except (docker.errors.DockerException, OSError) as error:
        warnings.warn(f"the engine at {url} was not emptied: {error}", stacklevel=2)


def _end_programs_of(directory: Path) -> None:
    """End what an engine left: programs whose command lines name our directory, with all that they started.

    Podman leaves the watcher of a container that could not start; a dockerd that is killed leaves containerd and
    every container.
    """
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(f"{directory}/" in word for word in process.cmdline()):
                for inner in [*process.children(recursive=True), process]:
                    inner.kill()


def _unmount_below(directory: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((item for item in mounts if item.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "-l", mount], capture_output=True, check=False)


def busybox() -> bytes:
    """A static busybox: the machine's own, or Debian's. Skips where there is neither."""
    here = shutil.which("busybox")
    if here is not None and b"ld-linux" not in Path(here).read_bytes():
        return Path(here).read_bytes()
    kept = ROOT / "openraas-test-busybox"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run(
                ["apt-get", "download", "busybox-static"], cwd=directory, capture_output=True, check=False
            )
            package = next(Path(directory).glob("*.deb"), None)
            if package is None:
                pytest.skip("neither a static busybox nor Debian's package of it can be had")
            subprocess.run(["dpkg-deb", "-x", str(package), f"{directory}/x"], check=True)
            shutil.copy(f"{directory}/x/bin/busybox", f"{kept}.new")
        Path(f"{kept}.new").rename(kept)
    return kept.read_bytes()


APPLETS = (
    "sh",
    "httpd",
    "sleep",
    "nc",
    "wget",
    "cat",
    "echo",
    "ls",
    "id",
    "env",
    "dd",
    "nslookup",
    "touch",
    "ip",
)


def root_file_system() -> bytes:
    """A layer with busybox and a page in /www, as a tar."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in (".", "bin", "www", "tmp", "etc", "data"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for name, content, mode in (
            ("bin/busybox", busybox(), 0o755),
            ("www/index.html", b"hello from the container\n", 0o644),
            ("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n", 0o644),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
        for applet in APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return made.getvalue()
