"""Taking away what runs on a box: it is started anew elsewhere, and nothing new is placed here."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.words import InstanceState as S
from master.audit.services import record
from master.boxes import services
from master.boxes.models import Box
from master.context import MasterContext
from master.deployments.events import about
from master.deployments.models import Instance
from master.lifecycle.instances import Steps

_MOVED = (S.PLACED.value, S.PREPARING.value, S.RUNNING.value)


def drain(session: Session, context: MasterContext, box: Box) -> int:
    """Cordon a box and let all that it runs begin again on others; returns how many that are."""
    services.cordon(session, context.redis, box, True)
    steps = Steps(context)
    found = session.scalars(
        select(Instance).where(Instance.box_id == box.id, Instance.state.in_(_MOVED))
    ).all()
    for instance in found:
        with about(instance):
            steps.again(session, instance, f"The owner of box {box.id} wants it back.")
    record(session, "box.drain", services.subject_of(box), after={"moved": len(found)})
    return len(found)
