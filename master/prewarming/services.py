"""What operators say about prewarmed instances, and how these stand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.warm import warm_subject
from master.accounts.models import User
from master.audit.services import record
from master.boxes.services import statuses_of
from master.catalogue.manifest import Manifest
from master.catalogue.models import Application
from master.catalogue.services import find_application
from master.prewarming.demand import standing
from master.prewarming.models import PrewarmOrder, WarmPool
from master.prewarming.suitable import suited


@dataclass(frozen=True)
class BoxPool:
    """What one box keeps ready of an application."""

    box: str
    wanted: int
    ready: int


@dataclass(frozen=True)
class Prewarmed:
    """One application: how many are wanted at all times, and what waits where."""

    application: str
    title: str
    wanted: int
    is_ordered: bool
    boxes: list[BoxPool]

    @property
    def ready(self) -> int:
        """How many wait now."""
        return sum(pool.ready for pool in self.boxes)


def order(session: Session, user: User, application: str, count: int) -> Application:
    """Want so many of an application ready at all times. Raises NotFound, NotSuitable."""
    entry = find_application(session, application)
    if count:
        suited(Manifest.model_validate(entry.manifest))
    _record(session, entry, {"count": count})
    session.merge(PrewarmOrder(application_id=entry.id, count=count, by=user.name, changed_at=time.time()))
    return entry


def withdraw(session: Session, application: str) -> Application:
    """Let the manifest's number count again. Raises NotFound."""
    entry = find_application(session, application)
    if (known := session.get(PrewarmOrder, entry.id)) is not None:
        _record(session, entry, {})
        session.delete(known)
    return entry


def _record(session: Session, entry: Application, after: Mapping[str, int]) -> None:
    known = session.get(PrewarmOrder, entry.id)
    before = {} if known is None else {"count": known.count}
    record(session, "prewarm.order", f"application:{entry.name}", before=before, after=after)


def list_prewarmed(session: Session, client: redis.Redis) -> list[Prewarmed]:
    """Every application of which something is wanted or waits, by name. Raises redis.RedisError."""
    wanted = standing(session)
    ordered = set(session.scalars(select(PrewarmOrder.application_id)))
    rows: dict[str, list[WarmPool]] = {}
    for pool in session.scalars(select(WarmPool).order_by(WarmPool.box_id)):
        rows.setdefault(pool.application_id, []).append(pool)
    known = statuses_of(client, sorted({pool.box_id for pools in rows.values() for pool in pools}))
    found = []
    for entry in session.scalars(select(Application).order_by(Application.name)):
        boxes = [
            BoxPool(pool.box_id, pool.count, _ready(known.get(pool.box_id), entry.id))
            for pool in rows.get(entry.id, [])
        ]
        if wanted[entry.id] or entry.id in ordered or boxes:
            found.append(Prewarmed(entry.name, entry.title, wanted[entry.id], entry.id in ordered, boxes))
    return found


def _ready(status: object, application: str) -> int:
    waiting: dict[str, int] = getattr(status, "prewarmed", {})
    return waiting.get(warm_subject(application), 0)
