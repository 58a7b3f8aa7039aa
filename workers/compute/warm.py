"""Keeps containers ready whose application is loaded and waits to be told whose it is.

They are made while nothing else is being started, one after the other, and make room at once for whoever asks: what
nobody owns never keeps anybody from a place. Where anything about one is in doubt it goes, and the start is cold.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from common.errors import OpenRaaSError
from common.logs import bind, get_logger
from common.warm import likeness
from common.wishes import ComputeWish, MountWish, WarmWish
from common.words import MountMode, Resources
from workers.box.jobs import Lane
from workers.compute.ending import Ending
from workers.compute.engine import Bind, ContainerSpec
from workers.compute.errors import EngineError
from workers.compute.handover import TARGET, VARIABLE, letter, waiting_command
from workers.compute.images import Images
from workers.compute.instances import InstanceRow, Stage
from workers.compute.launch import container_spec
from workers.compute.tools import Tools

log = get_logger(__name__)

# A start that is under way, or was a moment ago, goes before new prewarmed ones.
QUIET_S = 2.0
SLICE_S = 1.0
# One that could not be made is not tried again at once.
RETRY_S = 30.0


class Warm:
    """Makes, hands over and ends prewarmed instances."""

    def __init__(self, tools: Tools, images: Images, ending: Ending, room: Resources) -> None:
        self._tools = tools
        self._images = images
        self._ending = ending
        self._room = room
        self._busy_at = 0.0
        self._fetched_at: dict[str, float] = {}
        self._failed_at: dict[str, float] = {}

    # Making

    def converge(self, wish: WarmWish) -> None:
        """Have the image, and as many as are wished for."""
        if wish.wanted == "dropped":
            self.forget(wish.subject)
            return
        kind = _likeness_of_wish(wish)
        rows = self._tools.pool.of(wish.subject)
        fitting = [row for row, its_kind in rows if its_kind == kind and row.state is not Stage.ENDING]
        for row, its_kind in rows:
            if its_kind != kind or row in fitting[wish.count :]:
                self.end(row)
        if not self._has_image(wish):
            return
        if len(fitting) < wish.count and self._is_quiet(wish.subject):
            self._begin(wish, kind)

    def forget(self, subject: str) -> None:
        """None of them is wanted any more."""
        self._images.leave(subject)
        self._tools.room.release(subject)
        for row, _ in self._tools.pool.of(subject):
            self.end(row)

    def end(self, row: InstanceRow) -> None:
        """Undo one that nobody owns."""
        self._tools.instances.end(row)
        self._tools.wake(row.instance)

    def _has_image(self, wish: WarmWish) -> bool:
        shares, now = self._images.shares(wish.image), time.monotonic()
        try:
            if shares:
                if now - self._fetched_at.get(wish.subject, -RETRY_S) < RETRY_S:
                    return False
                self._fetched_at[wish.subject] = now
                self._tools.room.promise(wish.subject, shares)
            return self._images.have(wish.image, InstanceRow.nobody(wish.subject, wish.generation))
        except OpenRaaSError as error:
            self._put_off(wish.subject, str(error))
            return False

    def _is_quiet(self, subject: str) -> bool:
        now, held = time.monotonic(), self._tools.instances.held()
        if any(row.state in (Stage.PREPARING, Stage.STARTING) for row in held):
            self._busy_at = now
        if any(row.state is Stage.WARMING for row in held):
            return False
        failed_at = self._failed_at.get(subject, -RETRY_S)
        return now - self._busy_at >= QUIET_S and now - failed_at >= RETRY_S

    def _begin(self, wish: WarmWish, kind: str) -> None:
        row = self._tools.pool.add(wish.subject, kind, wish.service.resources, self._room)
        if row is None:
            return  # no room: real instances go first
        key = ("warm", row.instance)
        self._tools.context.jobs.submit(Lane.PROBE, key, lambda: self._make(wish, row))

    def _make(self, wish: WarmWish, row: InstanceRow) -> None:
        with bind(instance=row.instance, subject=wish.subject):
            try:
                container = self._create(wish, row)
            except OpenRaaSError as error:
                self._give_up(wish, row, str(error))
            except OSError as error:
                self._give_up(wish, row, f"{type(error).__name__}: {error}")
            else:
                self._await(wish, row, container, time.monotonic() + wish.service.readiness.timeout_s)

    def _create(self, wish: WarmWish, row: InstanceRow) -> str:
        tools = self._tools
        attachment = tools.networks.attach(row, wish.service.egress)
        places = tools.pool.places.make(row.instance, len(wish.targets))
        handover = tools.pool.handovers.make(row.instance)
        own = _as_instance(wish, row.instance)
        spec = container_spec(
            own,
            box=tools.context.config.box,
            reference=self._images.reference(wish.image),
            attachment=attachment,
            mounts=[],
            secrets={},
        )
        container = tools.engine.create(_waiting(spec, wish, places, handover))
        if tools.pool.noted(row, container):
            tools.engine.start(container)
        else:  # somebody needed the room meanwhile
            tools.engine.remove(container)
            tools.pool.clear(row)
        return container

    def _await(self, wish: WarmWish, row: InstanceRow, container: str, until: float) -> None:
        """Until it says that it is loaded; the thread is given back every `SLICE_S`."""
        now = self._tools.instances.get(row.instance)
        if now is None or now.state is not Stage.WARMING:
            return
        try:
            if self._tools.pool.handovers.is_ready(row.instance, wait_s=SLICE_S):
                self._tools.engine.pause(container)
                if self._tools.pool.waits(row):
                    log.info("prewarmed instance waits", container=container[:12])
                self._tools.wake(wish.subject)
                return
        except (EngineError, OSError) as error:
            self._give_up(wish, row, str(error))
            return
        if time.monotonic() > until:
            self._give_up(wish, row, "It did not say in time that it is loaded.")
            return
        key = ("warm", row.instance, until)
        self._tools.context.jobs.submit(Lane.PROBE, key, lambda: self._await(wish, row, container, until))

    def _give_up(self, wish: WarmWish, row: InstanceRow, why: str) -> None:
        self._put_off(wish.subject, why)
        self.end(row)

    def _put_off(self, subject: str, why: str) -> None:
        log.warning("not prewarmed", subject=subject, error=why)
        self._failed_at[subject] = time.monotonic()

    # Handing over

    def take(self, wish: ComputeWish, row: InstanceRow) -> bool:
        """Give an instance that was just admitted one that waits, if there is one for it; then make room."""
        self._busy_at = time.monotonic()
        taken = self._take(wish, row)
        for surplus in self._tools.pool.surplus(self._room):
            log.info("prewarmed instance makes room", instance=surplus.instance)
            self.end(surplus)
        return taken

    def _take(self, wish: ComputeWish, row: InstanceRow) -> bool:
        if wish.service.prewarm is None:
            return False
        try:
            said = letter(self._tools.secrets(wish))
        except OpenRaaSError:
            return False  # the cold start says what is wrong
        if said is None:
            return False
        with self._tools.networks.unchanged():
            taken = self._tools.pool.take(row, _likeness(wish))
        if taken:
            log.info("prewarmed instance handed over")
        return taken

    def wake(self, wish: ComputeWish, row: InstanceRow, mounts: list[tuple[MountWish, Path]]) -> str | None:
        """Lay the owner's files over the places, tell the application, let it go on; returns its container.

        None: there is none, or not any more; then the start goes on with a new one.
        """
        name = self._tools.pool.name_of(row)
        if name is None or row.container is None:
            return None
        since = time.monotonic()
        try:
            self._tools.pool.places.lay(name, _in_order(mounts))
            self.tell(wish, row)
            self._tools.engine.wake(row.container)
        except (OpenRaaSError, OSError) as error:
            log.warning("prewarmed instance not woken", error=str(error))
            self._tools.engine.remove(row.container)
            self._tools.pool.clear(row)
            self._tools.instances.without_container(row)
            return None
        self._tools.step(row, "wake", since)
        return row.container

    def tell(self, wish: ComputeWish, row: InstanceRow) -> None:
        """Say to a container that was handed over whose it is, once in this process's life."""
        name = self._tools.pool.name_of(row)
        said = letter(self._tools.secrets(wish)) if name is not None else None
        if name is not None and said is not None:
            self._tools.pool.handovers.tell(name, said)

    def heard(self, row: InstanceRow) -> None:
        """It runs."""
        if (name := self._tools.pool.name_of(row)) is not None:
            self._tools.pool.handovers.heard(name)

    def wanted(self) -> set[str]:
        """Subjects of the wishes in force."""
        return {
            wish.subject
            for wish in self._tools.context.wishes.all()
            if isinstance(wish, WarmWish) and wish.wanted == "kept"
        }

    def tidy(self) -> None:
        """End those whose wish is gone, and see after those that are wished for."""
        wanted = self.wanted()
        for row in self._tools.instances.held():
            if row.is_waiting and self._tools.pool.subject_of(row) not in wanted:
                self.end(row)


def _likeness_of_wish(wish: WarmWish) -> str:
    return likeness(wish.service, wish.image.manifest, [(item.target, item.mode) for item in wish.targets])


def _likeness(wish: ComputeWish) -> str:
    return likeness(wish.service, wish.image.manifest, [(item.target, item.mode) for item in wish.mounts])


def _in_order(mounts: list[tuple[MountWish, Path]]) -> list[Path]:
    return [path for _, path in sorted(mounts, key=lambda item: item[0].target)]


def _as_instance(wish: WarmWish, name: str) -> ComputeWish:
    """The wish for an instance of the same service that belongs to nobody."""
    return ComputeWish(
        subject=name,
        generation=0,
        version=0,
        wanted="running",
        instance=name,
        deployment=name,
        service=wish.service,
        image=wish.image,
    )


def _waiting(spec: ContainerSpec, wish: WarmWish, places: list[Path], handover: Path) -> ContainerSpec:
    """The container with empty places for files, which waits instead of running its application."""
    service = wish.service
    own = service.prewarm.command if service.prewarm is not None else None
    command = waiting_command(own, service.command)
    targets = sorted(wish.targets, key=lambda item: item.target)
    binds = [
        Bind(str(place), item.target, read_only=item.mode is MountMode.READ_ONLY)
        for place, item in zip(places, targets, strict=True)
    ]
    return replace(
        spec,
        command=tuple(command) if command is not None else None,
        environment={**spec.environment, VARIABLE: TARGET},
        binds=(*binds, Bind(str(handover), TARGET, read_only=True, live=False)),
    )
