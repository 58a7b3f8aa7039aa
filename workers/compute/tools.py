"""What the parts of the compute role share, and what they need of other roles."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from common.metrics import STEP_SECONDS
from common.reports import KeyMade, Lied, StepDone, StepName
from common.wishes import ComputeWish, ImageSource, MountWish
from common.words import Role
from workers.box.role import BoxContext
from workers.box.room import Room
from workers.compute.engine import Engine
from workers.compute.handed import Handed
from workers.compute.instances import InstanceRow, Instances
from workers.compute.logs import LogKeeper
from workers.compute.networks import NetworkPool
from workers.compute.outbox import Outbox
from workers.compute.pool import Pool
from workers.depository.facts import TransferFacts


class Layers(Protocol):
    """The depository's client, as compute uses it. Every method raises an OpenRaaSError."""

    def plan(self, image: ImageSource, user: str = "") -> None:
        """Say where the blobs of an image can be had, before the engine asks for them."""

    def transfer(self, manifest: str) -> TransferFacts:
        """What the pull of an image cost."""

    def cancel(self, manifest: str, user: str = "") -> None:
        """`user` does not want the image any more."""


class Mounter(Protocol):
    """The filestore's client side, as compute uses it."""

    def key(self, wish: ComputeWish, mount: MountWish) -> str:
        """The public key with which this instance reaches the fileset."""

    def mount(self, wish: ComputeWish, mount: MountWish) -> Path:
        """Mount and return the host path; raises an OpenRaaSError."""

    def release(self, instance: str, generation: int) -> None:
        """Unmount and delete the keys of an instance."""

    def renew(self, wish: ComputeWish) -> list[KeyMade]:
        """Keys that had to be made anew."""

    def adopt(self) -> None:
        """Take over mounts of a former worker."""


@dataclass(frozen=True)
class Tools:
    """Handed to every part."""

    context: BoxContext
    engine: Engine
    instances: Instances
    networks: NetworkPool
    pool: Pool
    mounter: Mounter
    layers: Layers
    logs: LogKeeper
    room: Room
    handed: Handed
    outbox: Outbox
    wake: Callable[[str], None]

    def wanted(self, row: InstanceRow) -> ComputeWish | None:
        """The wish in force, if it still wants this generation to run: asked around every long step."""
        wish = self.context.wishes.current(Role.COMPUTE, row.instance)
        if isinstance(wish, ComputeWish) and wish.wanted == "running" and wish.generation == row.generation:
            return wish
        return None

    def secrets(self, wish: ComputeWish) -> dict[str, str]:
        """The secret environment of an instance. Raises BadSignature if it was sealed for another box."""
        return {name: self.context.seal_key.unseal(text) for name, text in wish.sealed.items()}

    def step(
        self,
        row: InstanceRow,
        step: StepName,
        since: float,
        transfer: TransferFacts | None = None,
        *,
        until: float | None = None,
        size_bytes: int = 0,
    ) -> None:
        """Report a step that began at `since` (time.monotonic) and was done at `until`, or is done now."""
        now = time.monotonic()
        ended = now if until is None else min(now, max(since, until))
        took = ended - since
        STEP_SECONDS.labels(step).observe(took)
        if row.is_warm:
            return  # nobody asked for it
        done = StepDone(
            subject=row.instance,
            generation=row.generation,
            at=time.time() - (now - ended),
            step=step,
            took_s=took,
            size_bytes=transfer.size_bytes if transfer else size_bytes,
            sources=transfer.sources if transfer else {},
            detail=f"{', '.join(transfer.banned)} sent bad bytes"[:500]
            if transfer and transfer.banned
            else "",
        )
        self.outbox.send(done, step)
        if transfer and transfer.banned:
            lied = Lied(subject=row.instance, generation=row.generation, boxes=transfer.banned)
            self.outbox.send(lied)
