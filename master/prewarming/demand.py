"""How many people are expected for each application, and how many instances are to wait for them now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.settings import Settings
from master.catalogue.models import Application
from master.deployments.models import Deployment, Instance
from master.prewarming.models import PrewarmOrder
from master.timetable.models import TimetableEntry
from master.timetable.services import when_of


@dataclass(frozen=True)
class Demand:
    """`share` people are expected; `count` instances are to wait. `came` are those who came already, by box."""

    share: int
    count: int
    came: Mapping[str, int] = field(default_factory=dict)


def demands(session: Session, settings: Settings, now: float) -> dict[str, Demand]:
    """By application: what is wanted at all times, or what the timetable wants now if that is more."""
    wanted = {name: Demand(count, count) for name, count in standing(session).items() if count}
    for entry in session.scalars(select(TimetableEntry)):
        demand = _of_entry(session, entry, settings, now)
        known = wanted.get(entry.application_id)
        if demand is not None and (known is None or demand.share > known.share):
            wanted[entry.application_id] = demand
    return wanted


def standing(session: Session) -> dict[str, int]:
    """How many are to wait at all times, by application: what an operator said, else what the manifest says."""
    orders = {order.application_id: order.count for order in session.scalars(select(PrewarmOrder))}
    found = {}
    for application, manifest in session.execute(select(Application.id, Application.manifest)):
        said = max((item.get("prewarm") or {}).get("instances", 0) for item in manifest["services"].values())
        found[application] = orders.get(application, said)
    return found


def _of_entry(session: Session, entry: TimetableEntry, settings: Settings, now: float) -> Demand | None:
    start = when_of(entry).around(now, stay_s=settings.prewarm_stay_s)
    if start is None or now < start - max(settings.prefetch_lead_s, settings.prewarm_lead_s):
        return None
    since = start - settings.prewarm_lead_s
    if now < since:
        return Demand(entry.count, 0)
    came = _came(session, entry.application_id, since)
    return Demand(entry.count, max(0, entry.count - sum(came.values())), came)


def _came(session: Session, application: str, since: float) -> dict[str, int]:
    rows = session.execute(
        select(Instance.box_id, func.count())
        .join(Deployment, Deployment.id == Instance.deployment_id)
        .where(Deployment.application_id == application, Deployment.created_at >= since)
        .group_by(Instance.box_id)
    )
    return {str(box or ""): int(count) for box, count in rows}
