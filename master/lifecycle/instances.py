"""What happens to an instance from its placement on: the steps that reports and the reconciler share.

Every function takes an open transaction; messages leave after its commit.
"""

from __future__ import annotations

import time

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.logs import get_logger
from common.names import PLACE_WAITING, SCHEDULER_QUEUE
from common.words import InstanceState as S
from common.words import Role
from master.context import MasterContext
from master.db.session import after_commit
from master.deployments.events import add_row, set_state
from master.deployments.messages import send_later, wake_scheduler
from master.deployments.models import Instance, Mount
from master.deployments.wanted import filled_service
from master.filesets.models import Fileset
from master.lifecycle.states import ON_A_BOX, WAITING
from master.lifecycle.wishes import (
    WishWriter,
    compute_wish,
    depository_boxes,
    export_wish,
    mount_subject,
    offer_wishes,
)
from master.scheduler.reservations import Reservation, Reservations

log = get_logger(__name__)

_WAITING = [state.value for state in WAITING]


def current_mounts(instance: Instance) -> list[Mount]:
    """The mounts of the instance's present generation."""
    return [mount for mount in instance.mounts if mount.generation == instance.generation]


class Steps:
    """The steps, over one master context."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context
        self.settings, self.redis = context.settings, context.redis
        self._writer = WishWriter(context)
        self._reservations = Reservations(context.redis)

    def rewish(self, session: Session, instance: Instance) -> None:
        """The wish for the compute box has changed: give it its next version and send it."""
        instance.wish_version += 1
        session.flush()
        wish = compute_wish(session, self._context, instance)
        after_commit(session, lambda: self._writer.write(wish))

    def export(self, session: Session, mount: Mount, state: str) -> None:
        """The wish for a mount's filestore has changed (`exporting`, `ending`): send it."""
        mount.state = state
        mount.wish_version += 1
        session.flush()
        wish = export_wish(session, mount)
        after_commit(session, lambda: self._writer.write(wish))

    def stop(self, session: Session, instance: Instance, why: str) -> None:
        """Begin to stop an instance, wherever it is; nothing happens if it is over or stopping already."""
        state = S(instance.state)
        if state in WAITING:
            set_state(session, self._context.redis, instance, S.STOPPED, "stopped", detail=why)
            self._close_deployment(instance)
        elif state in ON_A_BOX and state is not S.STOPPING:
            set_state(session, self._context.redis, instance, S.STOPPING, "stopping", detail=why)
            self.rewish(session, instance)

    def over(
        self,
        session: Session,
        instance: Instance,
        state: S,
        step: str,
        detail: str,
        *,
        at: float | None = None,
        reason: str = "",
    ) -> None:
        """The compute box has nothing of it any more: end the exports, give the room back, close."""
        moment = {} if at is None else {"at": at}
        set_state(session, self._context.redis, instance, state, step, detail=detail, reason=reason, **moment)
        self._leave_box(session, instance)
        self._close_deployment(instance)

    def again(
        self, session: Session, instance: Instance, why: str, *, without: str | None = None, reason: str = ""
    ) -> None:
        """Try the instance anew as its next generation, perhaps elsewhere."""
        self._leave_box(session, instance)
        old = instance.generation
        set_state(session, self._context.redis, instance, S.REQUESTED, "again", detail=why, reason=reason)
        instance.generation = old + 1
        instance.box_id = None
        instance.reason = why
        instance.wish_version = 0
        if without is not None:
            instance.excluded = [*instance.excluded, without]
        wake_scheduler(session, self._context.celery, self._context.redis, instance.id, instance.generation)

    def _leave_box(self, session: Session, instance: Instance) -> None:
        for mount in current_mounts(instance):
            if mount.public_keys:
                self.export(session, mount, "ending")
            else:
                mount.state = "ended"  # no key was ever let in
        box = instance.box_id
        if box is None:
            return
        depositories = depository_boxes(session)
        offers = [item.box for item in offer_wishes(instance, depositories=depositories)]
        identity = instance.id

        def leave() -> None:
            self._writer.drop(box, Role.COMPUTE, identity)
            for depository in offers:
                self._writer.drop(depository, Role.DEPOSITORY, identity)
            self._reservations.release(box, identity)

        after_commit(session, leave)
        # Whoever waits may take the room at once.
        if session.scalar(select(Instance.id).where(Instance.state.in_(_WAITING)).limit(1)):
            send_later(session, self._context.celery, PLACE_WAITING, SCHEDULER_QUEUE)

    def _close_deployment(self, instance: Instance) -> None:
        deployment = instance.deployment
        if all(S(other.state).is_over for other in deployment.instances):
            deployment.wanted = "stopped"
            deployment.ended_at = time.time()

    def mount_ended(self, session: Session, mount: Mount, at: float) -> None:
        """The filestore let go of a mount."""
        mount.state = "ended"
        box, subject = mount.box_id, mount_subject(mount)
        if mount.generation == mount.instance.generation:
            name = session.get_one(Fileset, mount.fileset_id).name
            row = {"box_id": box, "at": at, "detail": f"Fileset {name} is closed."}
            add_row(session, self._context.redis, mount.instance, "end", **row)
        after_commit(session, lambda: self._writer.drop(box, Role.FILESTORE, subject))

    def settle(self, session: Session, instance: Instance) -> None:
        """It runs: its layers are on the box now, so the room kept for them is given back."""
        amounts = filled_service(instance).spec.resources
        assert instance.box_id is not None  # noqa: S101 - a running instance has a box
        reservation = Reservation(instance.box_id, instance.id, instance.generation, amounts)
        after_commit(session, lambda: self._reservations.confirm(reservation))
