"""Reading a deployment with all that its page shows, in few queries."""

from __future__ import annotations

from collections.abc import Iterable

import redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.logs import get_logger
from common.words import InstanceState
from master.deployments.models import Deployment
from master.deployments.presentation import DeploymentView, QueueView, describe
from master.filesets.models import Fileset
from master.scheduler.standing import Standing, standings

log = get_logger(__name__)


def view_of(session: Session, client: redis.Redis, deployment: Deployment) -> DeploymentView:
    """The deployment with the names of its filesets and the places of instances that wait."""
    wanted = {mount.fileset_id for instance in deployment.instances for mount in instance.mounts}
    names: dict[str, str] = {}
    if wanted:
        rows = session.execute(select(Fileset.id, Fileset.name).where(Fileset.id.in_(wanted)))
        names = {row.id: row.name for row in rows}
    return describe(deployment, names, queue_of(client, [deployment]))


def queue_of(client: redis.Redis, deployments: Iterable[Deployment]) -> dict[str, QueueView]:
    """Where the instances of these deployments stand that wait for room; without Redis only that they do."""
    waiting = [
        instance.id
        for deployment in deployments
        for instance in deployment.instances
        if instance.state == InstanceState.QUEUED.value
    ]
    try:
        known = standings(client, waiting)
    except redis.RedisError as error:
        log.warning("places in the queue not read", error=str(error))
        known = {}
    return {name: _queue_view(known.get(name)) for name in waiting}


def _queue_view(standing: Standing | None) -> QueueView:
    if standing is None:
        return QueueView(place=None, waiting=None, estimated_start=None)
    return QueueView(place=standing.place, waiting=standing.waiting, estimated_start=standing.start)
