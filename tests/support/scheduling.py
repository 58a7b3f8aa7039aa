"""A scheduler that tests let run, and what became of one instance."""

from __future__ import annotations

from master.context import MasterContext
from master.deployments.models import Instance
from master.scheduler.asks import waits
from master.scheduler.service import Scheduler
from master.scheduler.writing import PUT_OFF, QUEUED, STALE


def place_now(
    master: MasterContext, instance: str, generation: int, *, scheduler: Scheduler | None = None
) -> str:
    """Let a scheduler (a new one, if none is given) place what waits; placed, queued, stale or failed."""
    outcome = (scheduler or Scheduler(master)).run().get(instance, PUT_OFF)
    if outcome != PUT_OFF:
        return outcome
    with master.database.read() as session:
        return QUEUED if waits(session.get(Instance, instance), generation) else STALE
