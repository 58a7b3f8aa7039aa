"""Places one instance: fleet, policy, reservation, commit, and then the messages that follow from it."""

from __future__ import annotations

import time

import numpy as np
import redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.errors import NotFound
from common.images import UNPACKED_FACTOR
from common.logs import get_logger
from common.metrics import PLACEMENTS
from common.words import InstanceState, MountMode, Resources
from master.boxes.models import Box
from master.boxes.standing import trusted
from master.context import MasterContext
from master.db.session import after_commit
from master.deployments.events import set_state
from master.deployments.models import Instance, Mount
from master.deployments.wanted import Wanted, active_writer, placement_request, wanted
from master.filesets.models import Fileset, FilesetCopy, FilesetKind
from master.lifecycle.peers import others_fetching
from master.lifecycle.states import WAITING
from master.lifecycle.wishes import BoxWish, WishWriter, compute_wish, depository_boxes, offer_wishes
from master.scheduler.fleet_reader import FleetReader
from master.scheduler.reservations import Reservation, Reservations
from master.scheduling.place import place
from master.scheduling.policies import load_policy
from master.scheduling.request import Decision, Placement

log = get_logger(__name__)

HOLDERS_PER_BLOB = 16
LEFT_OUT_KEPT = 50


class Scheduler:
    """One per scheduler process."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context
        self._reader = FleetReader(context.redis)
        self._reservations = Reservations(context.redis)
        self._writer = WishWriter(context)
        self._policy = load_policy(context.settings.policy)
        self._rng = np.random.default_rng()

    def place(self, instance_id: str, generation: int) -> str:
        """Place an instance if it still waits; returns the outcome: placed, queued, stale or failed.

        Raises redis.RedisError or Unavailable when the parts it needs are away; the reconciler sends it again.
        """
        with self._context.database.write() as session:
            instance = session.get(Instance, instance_id)
            if not self._waits(instance, generation):
                return "stale"
            assert instance is not None  # noqa: S101 - told to the type checker
            try:
                want = wanted(session, instance, home_limit_bytes=self._context.settings.home_limit_bytes)
            except NotFound as error:
                self._fail(session, instance, str(error))
                return "failed"
            request = placement_request(session, instance, want)
            cordoned = list(session.scalars(select(Box.id).where(Box.cordoned)))
        fleet = self._reader.read(cordoned)
        decision = place(self._policy, request, fleet, self._rng)
        outcome = self._commit(instance_id, generation, want, decision)
        PLACEMENTS.labels(self._policy.name, outcome).inc()
        return outcome

    @staticmethod
    def _waits(instance: Instance | None, generation: int) -> bool:
        return (
            instance is not None
            and instance.generation == generation
            and InstanceState(instance.state) in WAITING
            and instance.deployment.wanted == "running"
        )

    def _fail(self, session: Session, instance: Instance, message: str) -> None:
        instance.error = message
        set_state(session, self._context.redis, instance, InstanceState.FAILED, "failed", detail=message)

    def _commit(self, instance_id: str, generation: int, want: Wanted, decision: Decision) -> str:
        """Reserve the best placement whose room is still there, and write it down."""
        reason = decision.waits_for
        for placement in decision.placements:
            reservation = self._reservation(placement, instance_id, generation, want.spec.resources)
            answer = self._reservations.take(reservation)
            if answer != "reserved":
                reason = f"{placement.compute} was taken a moment ago ({answer})."
                continue
            if self._write(placement, reservation, want, decision):
                return "placed"
            self._reservations.release(placement.compute, instance_id)
            return "stale"
        return self._queue(instance_id, generation, reason, decision)

    def _reservation(
        self, placement: Placement, instance_id: str, generation: int, amounts: Resources
    ) -> Reservation:
        layers = round(placement.missing_bytes * (1 + UNPACKED_FACTOR))
        return Reservation(
            box=placement.compute,
            instance=instance_id,
            generation=generation,
            amounts=amounts + Resources(disk_bytes=layers),
            expires_at=time.time() + self._context.settings.reservation_s,
        )

    def _write(
        self, placement: Placement, reservation: Reservation, want: Wanted, decision: Decision
    ) -> bool:
        with self._context.database.write() as session:
            instance = session.get(Instance, reservation.instance)
            if not self._waits(instance, reservation.generation):
                return False
            assert instance is not None  # noqa: S101 - told to the type checker
            instance.box_id = placement.compute
            instance.depositories = {
                digest: trusted(self._context.redis, boxes)[:HOLDERS_PER_BLOB]
                for digest, boxes in placement.depositories.items()
            }
            instance.variant_digest = placement.image or None
            instance.reason = placement.reason
            instance.considered = _explain(decision)
            instance.wish_version = 1
            for mount in want.mounts:
                mode = placement.modes[mount.fileset.id]
                self._mount(session, instance, mount.fileset, mount.target, mode, placement)
            session.flush()
            session.refresh(instance)
            set_state(
                session,
                self._context.redis,
                instance,
                InstanceState.PLACED,
                "placed",
                detail=placement.reason,
            )
            wishes = [compute_wish(session, self._context, instance)]
            wishes += offer_wishes(instance, depositories=depository_boxes(session))
            wishes += self._introduce(session, instance)
            after_commit(session, lambda: self._reservations.confirm(_confirmed(reservation)))
            after_commit(session, lambda: self._writer.write(*wishes))
        return True

    def _mount(
        self,
        session: Session,
        instance: Instance,
        fileset: Fileset,
        target: str,
        mode: MountMode,
        placement: Placement,
    ) -> None:
        fileset = session.get_one(Fileset, fileset.id, with_for_update=True)
        store = placement.filestores[fileset.id]
        if fileset.kind == FilesetKind.HOME.value and not fileset.copies:
            session.add(FilesetCopy(fileset_id=fileset.id, box_id=store, version=fileset.version))
        if mode is MountMode.READ_WRITE:
            mode = _write_permission(session, instance, fileset, placement.compute)
        session.add(
            Mount(
                instance_id=instance.id,
                generation=instance.generation,
                target=target,
                fileset_id=fileset.id,
                fileset_version=fileset.version,
                mode=mode.value,
                box_id=store,
                compute_box_id=placement.compute,
                fence=fileset.fence,
            )
        )

    def _introduce(self, session: Session, instance: Instance) -> list[BoxWish]:
        """Tell those who fetch the same image already of the one more."""
        others = others_fetching(session, instance)
        for other in others:
            other.wish_version += 1
        session.flush()
        return [compute_wish(session, self._context, other) for other in others]

    def _queue(self, instance_id: str, generation: int, reason: str, decision: Decision) -> str:
        """No box can take it now: it waits, and says what for."""
        with self._context.database.write() as session:
            instance = session.get(Instance, instance_id)
            if not self._waits(instance, generation):
                return "stale"
            assert instance is not None  # noqa: S101 - told to the type checker
            changed = instance.reason != reason
            instance.reason, instance.considered = reason, _explain(decision)
            if instance.state != InstanceState.QUEUED.value:
                set_state(
                    session, self._context.redis, instance, InstanceState.QUEUED, "queued", detail=reason
                )
            elif changed:
                log.info("still queued", instance=instance_id, reason=reason)
        return "queued"

    def place_waiting(self) -> None:
        """Try everything that waits, longest waiting first."""
        with self._context.database.read() as session:
            waiting = session.execute(
                select(Instance.id, Instance.generation)
                .where(Instance.state.in_([state.value for state in WAITING]))
                .order_by(Instance.state_at, Instance.id)
            ).all()
        for instance_id, generation in waiting:
            try:
                self.place(instance_id, generation)
            except redis.RedisError as error:
                log.warning("placement put off", instance=instance_id, error=str(error))
                return
            except Exception:
                # Those behind it in the queue must not wait for one that this master cannot place.
                log.exception("placement failed", instance=instance_id)


def _write_permission(session: Session, instance: Instance, fileset: Fileset, box: str) -> MountMode:
    """One writer: this box may write if nobody else does; a new writer gets a higher fence."""
    writer = active_writer(session, fileset, besides=instance.id)
    if writer is not None and writer != box:
        return MountMode.READ_ONLY
    if writer is None:
        fileset.fence += 1
        fileset.writer_box_id = box
    return MountMode.READ_WRITE


def _explain(decision: Decision) -> list[dict[str, str]]:
    return [{"box": item.box, "why": item.why} for item in decision.left_out[:LEFT_OUT_KEPT]]


def _confirmed(reservation: Reservation) -> Reservation:
    return Reservation(
        reservation.box, reservation.instance, reservation.generation, reservation.amounts, 0.0
    )
