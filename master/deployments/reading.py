"""Reading a deployment with all that its page shows, in few queries."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.words import InstanceState
from master.deployments.models import Deployment
from master.deployments.presentation import DeploymentView, QueueView, describe
from master.deployments.services import queue_place
from master.filesets.models import Fileset


def view_of(session: Session, deployment: Deployment) -> DeploymentView:
    """The deployment with the names of its filesets and the places of instances that wait."""
    wanted = {mount.fileset_id for instance in deployment.instances for mount in instance.mounts}
    names: dict[str, str] = {}
    if wanted:
        rows = session.execute(select(Fileset.id, Fileset.name).where(Fileset.id.in_(wanted)))
        names = {row.id: row.name for row in rows}
    queue = {
        instance.id: QueueView(ahead=place.ahead, latest_start=place.latest_start)
        for instance in deployment.instances
        if instance.state == InstanceState.QUEUED.value and (place := queue_place(session, instance))
    }
    return describe(deployment, names, queue)
