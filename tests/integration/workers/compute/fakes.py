"""Stand-ins for the roles that compute talks to; each keeps what it was asked."""

from __future__ import annotations

import threading
from pathlib import Path

from common.errors import OpenRaaSError
from common.reports import KeyMade
from common.wishes import ComputeWish, ImageSource, MountWish
from workers.depository.facts import TransferFacts


class FakeMounter:
    """Mounts are directories. `failing` filesets cannot be mounted, `waiting` ones wait for `go`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.mounted: dict[tuple[str, int], set[str]] = {}
        self.released: list[tuple[str, int]] = []
        self.failing: set[str] = set()
        self.waiting: set[str] = set()
        self.began = threading.Event()
        self.go = threading.Event()

    def key(self, wish: ComputeWish, mount: MountWish) -> str:
        return f"ssh-ed25519 {wish.instance}-{mount.fileset}"

    def mount(self, wish: ComputeWish, mount: MountWish) -> Path:
        self.began.set()
        if mount.fileset in self.waiting:
            self.go.wait(20)
        if mount.fileset in self.failing:
            raise OpenRaaSError(f"Fileset {mount.fileset} does not answer.")
        self.mounted.setdefault((wish.instance, wish.generation), set()).add(mount.fileset)
        path = self._root / mount.fileset
        path.mkdir(parents=True, exist_ok=True)
        return path

    def release(self, instance: str, generation: int) -> None:
        self.mounted.pop((instance, generation), None)
        self.released.append((instance, generation))

    def renew(self, wish: ComputeWish) -> list[KeyMade]:
        return []

    def adopt(self) -> None:
        return None


class FakeLayers:
    """The engine pulls from a test's registry, so nothing has to be planned."""

    def __init__(self) -> None:
        self.planned: list[str] = []
        self.cancelled: list[str] = []

    def plan(self, image: ImageSource, user: str = "") -> None:
        self.planned.append(image.manifest)

    def transfer(self, manifest: str) -> TransferFacts:
        return TransferFacts(state="done", size_bytes=1000, sources={"near": 600, "far": 400}, took_s=0.1)

    def cancel(self, manifest: str, user: str = "") -> None:
        self.cancelled.append(manifest)
