"""From a wish to a running container: each call takes the instance as far as it can go now.

What takes long runs elsewhere (image, mounts, readiness) and wakes the instance when it is done, so parts
that do not depend on each other run side by side, and a wake-up too many does no harm.
"""

from __future__ import annotations

import time
from pathlib import Path

from common.errors import OpenRaaSError
from common.logs import bind, get_logger
from common.readiness import Readiness
from common.reports import KeyMade, Preparing, Running
from common.signing import BadSignature
from common.wishes import ComputeWish, MountWish
from common.words import Resources
from workers.box.jobs import Lane
from workers.compute.ending import Ending
from workers.compute.engine import ContainerSpec
from workers.compute.errors import ComputeError, ImageMissing
from workers.compute.images import Images
from workers.compute.instances import InstanceRow, Stage
from workers.compute.launch import container_spec, disk_share
from workers.compute.mounting import Mounting
from workers.compute.networks import Attachment
from workers.compute.readiness import wait_until_ready
from workers.compute.tools import Tools
from workers.compute.warm import Warm

log = get_logger(__name__)

# A probe gives its thread back after so long, so that slow starters do not hold up the quick ones.
SLICE_S = 1.0


class Starting:
    """Takes instances from a wish to running."""

    def __init__(
        self,
        tools: Tools,
        images: Images,
        mounting: Mounting,
        ending: Ending,
        warm: Warm,
        room: Resources,
    ) -> None:
        self._tools = tools
        self._images = images
        self._mounting = mounting
        self._ending = ending
        self._warm = warm
        self._room = room

    def advance(self, wish: ComputeWish, row: InstanceRow | None) -> None:
        """One step further, or the fact again."""
        if row is None:
            row = self._admit(wish)
        if row.state is Stage.PREPARING:
            self._prepare(wish, row)
        elif row.state is Stage.STARTING:
            self._probe(wish, row)
        elif row.state is Stage.RUNNING:
            self._tools.outbox.repeat(Running(subject=row.instance, generation=row.generation))

    def _admit(self, wish: ComputeWish) -> InstanceRow:
        # The master decided by the last status: this box knows best what it has place for now.
        shares = [*self._images.shares(wish.image), disk_share(wish)]
        row = self._tools.instances.admit(
            wish.instance,
            wish.generation,
            wish.deployment,
            wish.service.resources,
            self._room,
            take_disk=lambda: self._tools.room.promise(wish.instance, shares),
        )
        if row.state is Stage.FAILED:
            self._ending.tell(row)
            return row
        self._tools.outbox.send(Preparing(subject=row.instance, generation=row.generation))
        if self._warm.take(wish, row):
            return self._tools.instances.get(row.instance) or row
        return row

    def _prepare(self, wish: ComputeWish, row: InstanceRow) -> None:
        try:
            self._make_keys(wish)
            self._mounting.begin(wish, row)
            have_image = self._images.have(wish.image, row)
            attachment = self._attach(wish, row)
            mounts = self._mounting.done(wish, row)
            if have_image and mounts is not None:
                self._launch(wish, row, attachment, mounts)
        except ImageMissing:
            self._images.lost(wish.image.manifest)
            self._tools.wake(row.instance)
        except ComputeError as error:
            self._ending.fail(row, error.reason, str(error))
        except BadSignature as error:
            self._ending.fail(row, "refused", str(error))
        except OpenRaaSError as error:
            self._ending.fail(row, "no-mount", str(error))

    def _make_keys(self, wish: ComputeWish) -> None:
        for mount in wish.mounts:
            if mount.endpoint is None:
                made = KeyMade(
                    subject=wish.subject,
                    generation=wish.generation,
                    fileset=mount.fileset,
                    public_key=self._tools.mounter.key(wish, mount),
                )
                self._tools.outbox.repeat(made, mount.fileset)

    def _attach(self, wish: ComputeWish, row: InstanceRow) -> Attachment:
        since = time.monotonic()
        attachment = self._tools.networks.attach(row, wish.service.egress)
        if row.address is None:
            self._tools.step(row, "network", since)
        return attachment

    def _launch(
        self,
        wish: ComputeWish,
        row: InstanceRow,
        attachment: Attachment,
        mounts: list[tuple[MountWish, Path]],
    ) -> None:
        tools = self._tools
        if tools.wanted(row) is None:
            tools.wake(row.instance)
            return
        spec = container_spec(
            wish,
            box=tools.context.config.box,
            reference=self._images.reference(wish.image),
            attachment=attachment,
            mounts=mounts,
            secrets=tools.secrets(wish),
            handed=tools.handed.make(wish.service.access, row.instance, row.generation),
        )
        container = self._warm.wake(wish, row, mounts) or self._create(row, spec)
        ready_by = time.time() + wish.service.readiness.timeout_s
        if tools.wanted(row) is None or not tools.instances.started(
            row, container, wish.service.port, ready_by, wish.service.access
        ):
            tools.wake(row.instance)
            return
        log.info("container started", container=container[:12])
        self._probe(wish, row)

    def _create(self, row: InstanceRow, spec: ContainerSpec) -> str:
        since = time.monotonic()
        container = self._tools.engine.create(spec)
        self._tools.step(row, "create", since)
        since = time.monotonic()
        self._tools.engine.start(container)
        self._tools.step(row, "launch", since)
        return container

    def _probe(self, wish: ComputeWish, row: InstanceRow) -> None:
        if wish.service.port is None:
            self._running(row)
            return
        key = ("probe", row.instance, row.generation)
        self._tools.context.jobs.submit(Lane.PROBE, key, lambda: self._probe_a_while(wish, key))

    def _probe_a_while(self, wish: ComputeWish, key: tuple[str, str, int]) -> None:
        row = self._starting_row(wish)
        if row is None or row.address is None or row.port is None or row.ready_by is None:
            return
        self._warm.tell(wish, row)  # a worker that ended took with it what was not read yet
        readiness = wish.service.readiness
        left = row.ready_by - time.time()
        since = time.monotonic()
        with bind(instance=row.instance, generation=row.generation):
            if wait_until_ready(
                row.address,
                row.port,
                readiness,
                until=since + min(left, SLICE_S),
                wanted=lambda: self._starting_row(wish) is not None,
            ):
                self._running(row, waited_s=readiness.timeout_s - (row.ready_by - time.time()))
            elif left <= SLICE_S:
                self._not_ready(wish, row, readiness)
            else:
                self._tools.context.jobs.submit(Lane.PROBE, key, lambda: self._probe_a_while(wish, key))

    def _starting_row(self, wish: ComputeWish) -> InstanceRow | None:
        row = self._tools.instances.get(wish.instance)
        if row is None or row.generation != wish.generation or row.state is not Stage.STARTING:
            return None
        return row

    def _running(self, row: InstanceRow, waited_s: float | None = None) -> None:
        """It runs; `waited_s` is how long its port took to answer, if it has one."""
        if waited_s is not None:  # without a port nothing tells that it has heard whose it is
            self._warm.heard(row)
        if self._tools.instances.ready(row):
            if waited_s is not None:
                self._tools.step(row, "ready", time.monotonic() - max(0.0, waited_s))
            self._tools.outbox.send(Running(subject=row.instance, generation=row.generation))

    def _not_ready(self, wish: ComputeWish, row: InstanceRow, readiness: Readiness) -> None:
        if self._starting_row(wish) is None:
            return
        path = f" to GET {readiness.http}" if readiness.http else ""
        message = (
            f"Port {row.port} did not answer{path} within {readiness.timeout_s:.0f} s."
            f"{self._ending.last_words(wish, row)}"
        )
        self._ending.fail(row, "not-ready", message)
