"""A filestore and compute boxes that mount from it, on this machine and with nothing left afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from common.reports import Exported, Failed
from common.service import ServiceSpec
from common.wishes import ComputeWish, ExportWish, ImageSource, MountWish
from common.words import MountMode, Resources
from tests.support.box import TestBox, make_box
from tests.support.redis import RedisServer, free_port, wait_until
from workers.box.config import BoxConfig
from workers.compute import mount_points
from workers.compute.mounts import Mounts
from workers.filestore import protocols
from workers.filestore.role import Filestore
from workers.filestore.volumes import Volumes

T = TypeVar("T")
DIGEST = "sha256:" + "0" * 64
RW, RO = MountMode.READ_WRITE, MountMode.READ_ONLY
MIB = 2**20


def need_files() -> None:
    """Skip where filesets cannot be served or mounted at all."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists() or not Path("/dev/loop-control").exists():
        pytest.skip("needs root, /dev/fuse and loop devices")


def within(limit_s: float, work: Callable[[], T]) -> T:
    """The result of `work`, or its error; fails the test if it hangs."""
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - raised again below, in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        pytest.fail(f"it hung for more than {limit_s:g} s")
    if errors:
        raise errors[0]
    return results[0]


def names(directory: Path) -> list[str]:
    """What lies in a directory."""
    return sorted(entry.name for entry in directory.iterdir())


class Store:
    """A filestore with its server running."""

    def __init__(self, box: TestBox) -> None:
        self.box = box
        self.config, self.paths = box.context.config, box.context.paths
        self.role = Filestore(box.context)
        self.role.start()
        self.volumes = Volumes(self.paths, box.context.table)
        self.server = protocols.server(protocols.DEFAULT, self.config, self.paths)
        self._process: subprocess.Popen[bytes] | None = None
        self.serve()

    def serve(self) -> None:
        """Start the server program and wait until it answers."""
        self._process = subprocess.Popen(self.server.command())
        wait_until(self._answers, what="the file server")

    def _answers(self) -> bool:
        try:
            socket.create_connection((self.config.address, self.config.filestore_port), 1).close()
        except OSError:
            return False
        return True

    def processes(self) -> list[psutil.Process]:
        """The server program and every process of its sessions."""
        assert self._process is not None
        if self._process.poll() is not None:
            return []
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def signal(self, number: int) -> None:
        """Send a signal to the server and all its sessions."""
        for process in self.processes():
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def kill(self) -> None:
        """End the server and all its sessions at once."""
        assert self._process is not None
        doomed = self.processes()
        self.signal(signal.SIGKILL)
        self._process.wait(10)
        psutil.wait_procs(doomed, 5)

    def put(self, fileset: str, version: int, files: dict[str, str]) -> Path:
        """A version of a fileset, as a put makes it; returns its directory."""
        uid = self.volumes.uid(fileset)
        prepared = self.volumes.directory(fileset) / ".put-test"
        prepared.mkdir(parents=True)
        os.chown(prepared, uid, uid)
        for name, text in files.items():
            file = prepared / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            os.chown(file, uid, uid)
        self.volumes.add(
            fileset, version, prepared, size_bytes=sum(map(len, files.values())), files=len(files)
        )
        return self.volumes.tree(fileset, version)

    def export(self, wish: ExportWish) -> Exported:
        """Let the role follow a wish; returns what it reported, fails if it refused."""
        answer = self.try_export(wish)
        assert isinstance(answer, Exported), answer
        return answer

    def try_export(self, wish: ExportWish) -> Exported | Failed:
        """Let the role follow a wish; returns its last report."""
        self.role.converge(wish)
        answer = self.box.reports.all[-1]
        assert isinstance(answer, Exported | Failed)
        return answer

    def end(self, wish: ExportWish) -> None:
        """End an export."""
        self.role.converge(wish.undone())

    def sessions(self) -> int:
        """How many processes serve files now."""
        return len(self.serving())

    def serving(self) -> set[int]:
        """The processes that serve files now."""
        found = set()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if process.name() == "sftp-server" and process.status() != psutil.STATUS_ZOMBIE:
                    found.add(process.pid)
        return found

    def close(self) -> None:
        """Leave nothing."""
        self.signal(signal.SIGCONT)
        self.kill()
        for point in mount_points.mounted(self.paths.root):
            subprocess.run(["umount", "--lazy", str(point)], check=False)
        self.box.context.jobs.close()


class Computer:
    """A compute box as far as mounts go."""

    def __init__(self, box: TestBox) -> None:
        self.box = box
        self.mounts = Mounts(box.context)
        self.mounts.adopt()

    def restart(self) -> None:
        """What a restarted worker does: new objects, the same table and disk."""
        self.mounts = Mounts(self.box.context)
        self.mounts.adopt()

    def close(self) -> None:
        """Leave nothing, whatever state the mounts are in."""
        root = self.box.context.paths.mounts
        for point in reversed(mount_points.mounted(root)):
            subprocess.run(["umount", "--lazy", "--no-canonicalize", str(point)], check=False)
        for row in self.box.context.table.all("SELECT pid FROM mounts"):
            if row["pid"] and psutil.pid_exists(row["pid"]):
                psutil.Process(row["pid"]).kill()
        self.box.context.jobs.close()


@contextmanager
def running_store(directory: Path, redis: RedisServer, **options: object) -> Iterator[Store]:
    """A filestore under `directory`."""
    values = {"box": "store", "state_dir": directory, "filestore_port": free_port(), **options}
    store = Store(make_box(BoxConfig.build(values, source="test"), redis))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def running_computer(directory: Path, redis: RedisServer, name: str, **options: object) -> Iterator[Computer]:
    """A compute box under `directory`."""
    values = {"box": name, "state_dir": directory, "mount_timeout_s": 5.0, **options}
    computer = Computer(make_box(BoxConfig.build(values, source="test"), redis))
    try:
        yield computer
    finally:
        computer.close()


class Use:
    """One instance's use of one fileset: the two wishes that the master would write, and their road."""

    def __init__(
        self,
        store: Store,
        computer: Computer,
        fileset: str,
        *,
        mode: MountMode = RO,
        instance: str = "i-1",
        generation: int = 1,
        fence: int = 1,
        version: int = 1,
        limit_bytes: int | None = None,
        user: str | None = None,
        lease_end: float | None = None,
    ) -> None:
        self.store, self.computer = store, computer
        self.instance, self.generation = instance, generation
        self.mount_wish = MountWish(
            fileset=fileset, version=version, target="/data", mode=mode, filestore=store.config.box
        )
        self.wish = ComputeWish(
            subject=instance,
            generation=generation,
            version=1,
            wanted="running",
            instance=instance,
            deployment="d-1",
            service=ServiceSpec(name="web", image="web:1", resources=Resources(), user=user),
            image=ImageSource(name="web:1", manifest=DIGEST, blobs=[], endpoints={}, ticket=""),
            mounts=[self.mount_wish],
        )
        key = computer.mounts.key(self.wish, self.mount_wish)
        self.export_wish = ExportWish(
            subject=f"{instance}.{fileset}",
            generation=generation,
            version=1,
            lease_end=lease_end,
            wanted="exported",
            instance=instance,
            compute=computer.box.context.config.box,
            fileset=fileset,
            fileset_version=version,
            mode=mode,
            fence=fence,
            public_keys=[key],
            size_limit_bytes=limit_bytes,
        )

    def export(self) -> Exported:
        """Have the filestore let the keys in, and tell the compute box where, as the master does."""
        exported = self.store.export(self.export_wish)
        self.mount_wish = self.mount_wish.model_copy(
            update={
                "endpoint": exported.endpoint,
                "host_key": exported.host_key,
                "public_keys": exported.public_keys,
                "protocol": protocols.DEFAULT,
            }
        )
        self.wish = self.wish.model_copy(update={"mounts": [self.mount_wish]})
        return exported

    def mount(self) -> Path:
        """Mount what is exported."""
        return self.computer.mounts.mount(self.wish, self.mount_wish)

    def begin(self) -> Path:
        """Export and mount."""
        self.export()
        return self.mount()

    def end(self) -> None:
        """The road back."""
        self.computer.mounts.release(self.instance, self.generation)
        self.store.end(self.export_wish)

    def renew(self) -> list[str]:
        """Renew keys and let the filestore know the two newest; returns those that were told."""
        told = [made.public_key for made in self.computer.mounts.renew(self.wish)]
        if told:
            keys = [*self.export_wish.public_keys, *told][-2:]
            self.export_wish = self.export_wish.model_copy(update={"public_keys": keys})
            self.export()
        return told


def eventually(work: Callable[[], T], limit_s: float, what: str) -> T:
    """The first result of `work` that is no OSError."""
    end = time.monotonic() + limit_s
    while True:
        try:
            return within(limit_s + 15, work)
        except OSError as error:
            if time.monotonic() > end:
                pytest.fail(f"{what} within {limit_s:g} s: {error}")
        time.sleep(0.05)
