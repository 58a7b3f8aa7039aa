"""When what runs will end: leases, and how long people usually keep an application."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.words import InstanceState
from master.db.session import Database
from master.deployments.models import Deployment, Instance, TimelineRow
from master.lifecycle.states import ON_A_BOX
from master.scheduler.queue import AMOUNTS
from master.scheduling.fleet import Fleet
from master.scheduling.forecast import Hold

# The medians are of so many of the last deployments that ended, of an application with at least so many of them.
REMEMBERED = 1000
FEWEST = 3
MEDIANS_KEPT_S = 60.0
# What runs changes with every placement, but ends lie minutes and hours ahead.
HOLDS_KEPT_S = 2.0


def holding_times(session: Session) -> dict[str, float]:
    """The median time from running to the end, in seconds, of each application that ran often enough."""
    ended = (
        select(Deployment.id, Deployment.application_name, Deployment.ended_at)
        .where(Deployment.ended_at.is_not(None))
        .order_by(Deployment.ended_at.desc())
        .limit(REMEMBERED)
        .subquery()
    )
    # An instance counts once, from when it first ran: a box that returns, or the next box, says so again.
    rows = session.execute(
        select(ended.c.application_name, ended.c.ended_at - func.min(TimelineRow.at))
        .join(Instance, Instance.deployment_id == ended.c.id)
        .join(TimelineRow, TimelineRow.instance_id == Instance.id)
        .where(TimelineRow.step == "running")
        .group_by(Instance.id, ended.c.application_name, ended.c.ended_at)
    )
    held: dict[str, list[float]] = defaultdict(list)
    for application, seconds in rows:
        held[application].append(max(0.0, seconds or 0.0))
    return {application: median(times) for application, times in held.items() if len(times) >= FEWEST}


def predicted_end(began: float, lease_end: float, usual_s: float | None, now: float) -> float:
    """When something that runs since `began` will end: after its usual time, at the latest with its lease.

    Once it has run for longer than usual, history says nothing more of it, and the lease counts.
    """
    if usual_s is None or began + usual_s < now:
        return max(now, lease_end)
    return min(began + usual_s, lease_end)


@dataclass(frozen=True)
class Running:
    """Something on a box, as SQL has it."""

    box: str
    amounts: tuple[float, ...]
    until: float


class Outlook:
    """One per scheduler process; remembers for moments what it read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._usual: Mapping[str, float] = {}
        self._running: list[Running] = []
        self._usual_at = self._running_at = float("-inf")

    def usual_s(self, application: str) -> float | None:
        """How long people usually keep an application; None if that is not known yet."""
        if time.monotonic() - self._usual_at > MEDIANS_KEPT_S:
            with self._database.read() as session:
                self._usual = holding_times(session)
            self._usual_at = time.monotonic()
        return self._usual.get(application)

    def holds(self, fleet: Fleet) -> list[Hold]:
        """What holds room in the fleet, and until when."""
        if time.monotonic() - self._running_at > HOLDS_KEPT_S:
            self._running = self._read()
            self._running_at = time.monotonic()
        return [
            Hold(fleet.row_of[item.box], np.array(item.amounts), item.until)
            for item in self._running
            if item.box in fleet.row_of
        ]

    def _read(self) -> list[Running]:
        now = time.time()
        self.usual_s("")
        states = [state.value for state in ON_A_BOX]
        with self._database.read() as session:
            rows = session.execute(
                select(
                    Instance.box_id,
                    Instance.state,
                    Instance.state_at,
                    Deployment.lease_end,
                    Deployment.application_name,
                    *AMOUNTS,
                )
                .join(Deployment, Deployment.id == Instance.deployment_id)
                .where(Instance.state.in_(states), Instance.box_id.is_not(None))
            ).all()
        found = []
        for box, state, since, lease_end, application, *amounts in rows:
            usual = self._usual.get(application)
            until = (
                now  # what stops gives its room back in a moment
                if state == InstanceState.STOPPING.value
                else predicted_end(since, lease_end, usual, now)
            )
            found.append(Running(str(box), tuple(float(amount) for amount in amounts), until))
        return found
