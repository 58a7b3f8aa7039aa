"""What the compute role does every few seconds without being asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from common.errors import OpenRaaSError
from common.logs import get_logger
from common.units import show_size
from common.wishes import ComputeWish, WarmWish
from workers.box.jobs import Lane
from workers.box.room import Kind
from workers.compute.ending import Ending
from workers.compute.engine import ContainerFacts
from workers.compute.errors import EngineError
from workers.compute.instances import LIVE, InstanceRow, Stage
from workers.compute.labels import LABEL_BOX, LABEL_GENERATION, LABEL_INSTANCE
from workers.compute.tools import Tools
from workers.compute.watching import Watching
from workers.depository.keeping import Keeper

log = get_logger(__name__)

# Counting what a container wrote, and what images take, reads the disk.
DISK_EVERY_S = 30.0


class Caretaking:
    """Finds what no wish names, renews keys, looks after the disk, keeps networks ready."""

    def __init__(self, tools: Tools, ending: Ending, watching: Watching, keeper: Keeper) -> None:
        self._tools = tools
        self._ending = ending
        self._watching = watching
        self._keeper = keeper
        self._disk_at = 0.0
        self._held: set[str] = set()

    def look(self) -> None:
        """One round. An engine that is away is logged: the next round comes soon."""
        try:
            listed = self._tools.engine.containers({LABEL_BOX: self._tools.context.config.box})
            self.remove_strangers(listed)
            self._watching.compare(listed)
        except EngineError as error:
            log.warning("engine not asked", error=str(error))
            return
        self._submit("networks", self._refill)
        self._submit("keys", self._renew_keys)
        held = {row.instance for row in self._tools.instances.held()}
        one_has_gone, self._held = bool(self._held - held), held
        if one_has_gone or time.monotonic() - self._disk_at >= DISK_EVERY_S:
            self._disk_at = time.monotonic()
            self._submit("disk", self._measure_disk)

    def remove_strangers(self, listed: list[ContainerFacts]) -> None:
        """Remove containers of this box that its table does not know. Raises EngineError."""
        rows = self._tools.instances.held()
        # By what the table says, for one that was handed over carries the labels of its former life.
        held = {(row.instance, str(row.generation)) for row in rows} | {(row.container, None) for row in rows}
        for facts in listed:
            instance = facts.labels.get(LABEL_INSTANCE, "")
            labelled = (instance, facts.labels.get(LABEL_GENERATION))
            if labelled not in held and (facts.id, None) not in held:
                log.warning("container removed that nobody wants", instance=instance, container=facts.id[:12])
                self._tools.engine.remove(facts.id)

    def unwanted(self) -> list[InstanceRow]:
        """Instances that are here although no wish is left for them."""
        wanted = {wish.subject for wish in self._wishes()}
        return [
            row for row in self._tools.instances.held() if row.instance not in wanted and not row.is_waiting
        ]

    def send_away(self) -> list[InstanceRow]:
        """The owner wants nothing to run here: what runs is ended, and the master places it elsewhere."""
        held = [row for row in self._tools.instances.held() if row.state is not Stage.ENDING]
        for row in held:
            log.warning("instance sent away by the owner", instance=row.instance)
            message = f"The owner has switched {self._tools.context.config.box} off."
            self._tools.instances.end(row, reason="no-room", message=message)
        return held

    def _wishes(self) -> list[ComputeWish]:
        return [wish for wish in self._tools.context.wishes.all() if isinstance(wish, ComputeWish)]

    def _refill(self) -> None:
        try:
            self._tools.networks.refill()
        except OpenRaaSError as error:
            log.warning("no network made ahead", error=str(error))

    def _renew_keys(self) -> None:
        running = {
            (row.instance, row.generation)
            for row in self._tools.instances.held()
            if row.state is Stage.RUNNING
        }
        for wish in self._wishes():
            if wish.mounts and (wish.instance, wish.generation) in running:
                for made in self._tools.mounter.renew(wish):
                    self._tools.outbox.send(made, made.fileset)

    def _measure_disk(self) -> None:
        try:
            self._keeper.keep()
            self._tools.room.keep_only(Kind.DISK, self._instances_in(*LIVE, Stage.ENDING))
            self._tools.room.keep_only(
                Kind.LAUNCH, self._instances_in(Stage.PREPARING, also=self._prewarming)
            )
            self._enforce_limits()
        except EngineError as error:
            log.warning("disk not measured", error=str(error))

    def _instances_in(self, *stages: Stage, also: Callable[[], list[str]] = list) -> Callable[[], list[str]]:
        return lambda: [row.instance for row in self._tools.instances.held() if row.state in stages] + also()

    def _prewarming(self) -> list[str]:
        """Subjects whose images are fetched before anybody asks."""
        return [wish.subject for wish in self._tools.context.wishes.all() if isinstance(wish, WarmWish)]

    def _enforce_limits(self) -> None:
        if self._tools.engine.limits_disk():
            return
        for row in self._tools.instances.held():
            limit = row.resources.disk_bytes
            if row.state is not Stage.RUNNING or row.container is None or not limit:
                continue
            written = self._tools.engine.writable_bytes(row.container)
            if written > limit:
                message = (
                    f"It wrote {show_size(written)} into its container; its limit is {show_size(limit)}."
                )
                self._ending.fail(row, "exited", message)

    def _submit(self, name: str, work: Callable[[], None]) -> None:
        self._tools.context.jobs.submit(Lane.PROBE, ("compute", name), work)
