"""Who waits for room, in the order in which they are served."""

from __future__ import annotations

import redis
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from common.logs import get_logger
from common.words import InstanceState
from master.accounts.guard import may
from master.accounts.models import User, UserRole
from master.deployments.models import Deployment, Instance
from master.scheduler.standing import Standing, standings
from master.scheduling.order import Priority

log = get_logger(__name__)

MOST_SHOWN = 200


class WaitingView(BaseModel):
    """One instance that waits. Other people's say no more than that somebody waits there, except to operators."""

    instance: str | None = Field(description="None: somebody else's.")
    deployment: str | None = Field(description="None: somebody else's.")
    title: str | None = Field(description="Of the application; none: somebody else's.")
    user: str | None = Field(description="None: somebody else.")
    mine: bool
    priority: Priority
    asked_at: float = Field(description="Unix time.")
    place: int | None = Field(description="1 is served next. None: the scheduler has not said yet.")
    estimated_start: float | None = Field(description="Unix time; none: unknown.")
    reason: str | None = Field(description="Why it waits; none: somebody else's, or not said yet.")


class QueueAnswer(BaseModel):
    """The queue as it is served."""

    waiting: int = Field(description="How many instances wait.")
    items: list[WaitingView] = Field(description=f"The first {MOST_SHOWN}.")


def read_queue(session: Session, client: redis.Redis, user: User) -> QueueAnswer:
    """The queue as this person may see it; without Redis in the order in which people asked."""
    rows = session.scalars(
        select(Instance)
        .join(Deployment, Deployment.id == Instance.deployment_id)
        .where(Instance.state == InstanceState.QUEUED.value, Deployment.wanted == "running")
        .options(joinedload(Instance.deployment).joinedload(Deployment.user))
        .order_by(Deployment.created_at, Instance.id)
    ).all()
    try:
        told = standings(client, [row.id for row in rows])
    except redis.RedisError as error:
        log.warning("places in the queue not read", error=str(error))
        told = {}
    found = sorted(rows, key=lambda row: told[row.id].place if row.id in told else len(rows) + 1)
    sees_all = may(user, UserRole.OPERATOR)
    items = [_view(row, told.get(row.id), user, sees_all=sees_all) for row in found[:MOST_SHOWN]]
    return QueueAnswer(waiting=len(rows), items=items)


def _view(row: Instance, standing: Standing | None, user: User, *, sees_all: bool) -> WaitingView:
    deployment = row.deployment
    mine = deployment.user_id == user.id
    shown = mine or sees_all
    return WaitingView(
        instance=row.id if shown else None,
        deployment=deployment.id if shown else None,
        title=deployment.title if shown else None,
        user=deployment.user.name if shown else None,
        mine=mine,
        priority=Priority(deployment.priority),
        asked_at=deployment.created_at,
        place=standing.place if standing else None,
        estimated_start=standing.start if standing else None,
        reason=row.reason if shown else None,
    )
