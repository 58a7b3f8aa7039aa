"""The road back: container, mounts, network. However an instance ends, nothing of it is left."""

from __future__ import annotations

import time

from common.errors import Unauthorized
from common.logs import get_logger
from common.reports import Failed, Reason, Stopped
from common.wishes import ComputeWish
from workers.compute.engine import ContainerFacts
from workers.compute.errors import EngineError
from workers.compute.images import Images
from workers.compute.instances import InstanceRow, Stage
from workers.compute.launch import container_name
from workers.compute.mounting import Mounting
from workers.compute.tools import Tools

log = get_logger(__name__)

MESSAGE_CHARACTERS = 1000
# What engines give as the exit code of a container that died with them.
FOUND_DEAD = 255


class Ending:
    """Ends instances. What cannot be undone now stays marked, and is tried again with the next wake-up."""

    def __init__(self, tools: Tools, images: Images, mounting: Mounting) -> None:
        self._tools = tools
        self._images = images
        self._mounting = mounting
        self._born = time.time()

    def stop(self, wish: ComputeWish, row: InstanceRow | None) -> None:
        """The wish says that nothing of it is to be here."""
        if row is not None and not self.undo(row):
            return
        exit_code = row.exit_code if row is not None else None
        fact = Stopped(subject=wish.instance, generation=wish.generation, exit_code=exit_code)
        self._tools.outbox.repeat(fact)

    def fail(self, row: InstanceRow, reason: Reason, message: str) -> None:
        """Mark a start as failed; the instance is woken and undone."""
        log.warning("instance failed", instance=row.instance, reason=reason, message=message)
        self._tools.instances.end(row, reason=reason, message=message[:MESSAGE_CHARACTERS])
        self._tools.wake(row.instance)

    def exited(self, wish: ComputeWish, row: InstanceRow) -> bool:
        """Its container may have ended by itself; returns whether it has. Raises EngineError."""
        facts = self._tools.engine.inspect(row.container or "")
        if facts is not None and facts.running:
            return False
        if facts is not None and wish.service.access.ends_by_itself:
            self._tools.instances.end(row, exit_code=facts.exit_code)
            return True
        reason: Reason = "exited"
        if facts is None:
            message = "Somebody removed its container."
        elif facts.out_of_memory:
            message = "It needed more memory than its limit." + self.last_words(wish, row)
        elif self._was_interrupted(facts):
            reason = "interrupted"
            message = "It ended with its box or the box's container engine."
        else:
            message = f"It ended by itself with exit code {facts.exit_code}." + self.last_words(wish, row)
        exit_code = facts.exit_code if facts is not None else None
        self._tools.instances.end(
            row, exit_code=exit_code, reason=reason, message=message[:MESSAGE_CHARACTERS]
        )
        return True

    def _was_interrupted(self, facts: ContainerFacts) -> bool:
        """It ended while nobody watched, or an engine that was killed found it dead when it came back."""
        unwatched = facts.ended_at is not None and facts.ended_at < self._born
        return unwatched or facts.exit_code == FOUND_DEAD

    def last_words(self, wish: ComputeWish, row: InstanceRow) -> str:
        """The end of its output, for people; without its secrets."""
        try:
            hidden = self._tools.secrets(wish).values()
            return self._tools.logs.last_words(row.container or "", hide=hidden)
        except (EngineError, Unauthorized) as error:
            return f" Its output cannot be read: {error}"

    def undo(self, row: InstanceRow) -> bool:
        """Make nothing be left; False if that must wait. Raises OpenRaaSError if it does not work now."""
        self._tools.instances.end(row)
        marked = self._tools.instances.get(row.instance)
        return marked is None or marked.state.is_over or self.finish(marked)

    def finish(self, row: InstanceRow) -> bool:
        """Undo an instance that is marked as ending, then say how it ended."""
        self._images.leave(row.instance)
        self._remove_container(row)
        self._tools.pool.clear(row)
        since = time.monotonic()
        if not self._mounting.release(row):
            return False
        self._tools.step(row, "unmount", since)
        self._tools.networks.detach(row)
        over = self._tools.instances.ended(row)
        self._tools.room.release(row.instance)
        if over is not None:
            self.tell(over)
        if row.is_warm:
            self._tools.instances.forget(row.instance)
        return True

    def tell(self, row: InstanceRow) -> None:
        """How it ended, once more."""
        if row.is_warm:
            return  # nobody asked for it
        subject, generation = row.instance, row.generation
        if row.state is Stage.FAILED and row.reason is not None:
            message = row.message or "The box gave no reason."
            self._tools.outbox.repeat(
                Failed(subject=subject, generation=generation, reason=row.reason, message=message)
            )
        else:
            self._tools.outbox.repeat(
                Stopped(subject=subject, generation=generation, exit_code=row.exit_code)
            )

    def _remove_container(self, row: InstanceRow) -> None:
        # By name: a worker that died between making and noting it left no id.
        tools = self._tools
        name = container_name(tools.context.config.box, row.instance, row.generation)
        since = time.monotonic()
        held = row.container or (name if tools.engine.inspect(name) is not None else None)
        if held is not None:
            if not row.is_warm:
                tools.engine.stop(held, grace_s=tools.context.config.stop_grace_s)
                tools.logs.save(row.instance, row.generation, held)
            tools.engine.remove(held)
            tools.step(row, "stop", since)
        tools.handed.remove(row.instance, row.generation)
