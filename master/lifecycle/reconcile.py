"""Compares wish and fact every few seconds, and mends what a lost message or a fault left apart."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict

import redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.logs import get_logger
from common.names import (
    EPOCH,
    EPOCH_READY,
    PLACE_WAITING,
    RECONCILE_LOCK,
    SCHEDULER_QUEUE,
    role_queue,
)
from common.words import InstanceState as S
from common.words import MountMode, Role
from master.boxes.models import Box
from master.boxes.services import restore
from master.context import MasterContext
from master.db.session import after_commit
from master.deployments.events import about, set_state
from master.deployments.lease_services import warn
from master.deployments.messages import send_later
from master.deployments.models import Deployment, Instance
from master.deployments.wanted import filled_service
from master.images.services import drop_unused
from master.lifecycle.expected import expected_wishes
from master.lifecycle.instances import Steps, current_mounts
from master.lifecycle.replicate import Replicator
from master.lifecycle.silence import Watch
from master.lifecycle.states import ON_A_BOX, WAITING
from master.lifecycle.wishes import WishWriter
from master.metrics.recorder import Recorder
from master.mirrors.services import fail_mirrors_of
from master.nearness.surveyor import Surveyor
from master.prewarming.planner import Planner
from master.scheduler.reservations import Reservation, Reservations
from master.trust.notary import Notary

log = get_logger(__name__)

LOCK_S = 30


class Reconciler:
    """Runs in a lifecycle process; a lock in Redis keeps two from working at once."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context
        self._settings = context.settings
        self._redis = context.redis
        self._steps = Steps(context)
        self._writer = WishWriter(context)
        self._reservations = Reservations(context.redis)
        self._replicator = Replicator(context)
        self._watch = Watch(context)
        self._surveyor = Surveyor(context)
        self._notary = Notary(context)
        self._planner = Planner(context)
        self._recorder = Recorder(context)

    def run(self) -> bool:
        """One round; returns False if another process is at it. Raises redis.RedisError, Unavailable."""
        lock = self._redis.lock(RECONCILE_LOCK, timeout=LOCK_S, blocking=False)
        if not lock.acquire():
            return False
        try:
            self._end_leases()
            self._look_for_lost_boxes()
            self._rebuild_epoch()
            self._notary.run()
            self._mend_reservations()
            self._surveyor.run()
            self._replicator.run()
            self._planner.run()
            self._mend_wish_lists()
            self._resend()
            self._recorder.run()  # last: figures hold up nothing that people wait for
        finally:
            try:
                lock.release()
            except redis.exceptions.LockError:
                log.warning("the round of reconciliation took longer than its lock", limit_s=LOCK_S)
        return True

    def _end_leases(self) -> None:
        with self._context.database.write() as session:
            warn(session, self._redis, self._settings.lease_warn_s, time.time())
            ended = select(Deployment).where(
                Deployment.wanted == "running", Deployment.lease_end < time.time()
            )
            for deployment in session.scalars(ended):
                if not deployment.has_begun:
                    continue  # it waits for room
                deployment.wanted = "stopped"
                for instance in deployment.instances:
                    with about(instance):
                        self._steps.stop(session, instance, "The lease has ended.")

    def _look_for_lost_boxes(self) -> None:
        verdict = self._watch.look()
        if not verdict.lost and not verdict.returned:
            return
        now = time.time()
        with self._context.database.write() as session:
            for box in session.scalars(select(Box).where(Box.id.in_(verdict.returned))):
                log.info("box is back", box=box.id)
                box.lost_at = None
            lost = select(Box).where(Box.id.in_(verdict.lost), Box.removed_at.is_(None))
            for box in session.scalars(lost):
                self._lose(session, box, now)

    def _lose(self, session: Session, box: Box, now: float) -> None:
        """A box is silent beyond the limit: move what it ran, but what may write waits for its return."""
        log.warning("box lost", box=box.id)
        box.lost_at = now
        fail_mirrors_of(session, box.id)
        states = [state.value for state in ON_A_BOX - {S.LOST}]
        for instance in session.scalars(
            select(Instance).where(Instance.box_id == box.id, Instance.state.in_(states))
        ):
            why = f"Box {box.id} has been silent for {self._settings.lost_after_s:.0f} s."
            writes = any(mount.mode == MountMode.READ_WRITE.value for mount in current_mounts(instance))
            with about(instance):
                if S(instance.state) is S.STOPPING or writes:
                    set_state(session, self._redis, instance, S.LOST, "lost", detail=why)
                else:
                    self._steps.again(session, instance, why)

    def _rebuild_epoch(self) -> None:
        """A new (or wiped) Redis: nothing is placed before the reservations are rebuilt from SQL."""
        if self._redis.set(EPOCH, secrets.token_hex(8), nx=True):
            log.info("new Redis epoch")
        epoch = self._redis.get(EPOCH)
        if self._redis.get(EPOCH_READY) == epoch:
            return
        self._mend_reservations()
        self._mend_wish_lists()
        self._restore_members()
        self._redis.set(EPOCH_READY, str(epoch))

    def _restore_members(self) -> None:
        with self._context.database.read() as session:
            restore(session, self._redis)

    def _mend_reservations(self) -> None:
        """SQL's placements hold room; room that no placement explains and that has expired is given back."""
        with self._context.database.read() as session:
            boxes = list(session.scalars(select(Box.id)))
            wanted: dict[str, dict[str, Reservation]] = defaultdict(dict)
            on_boxes = select(Instance).where(Instance.state.in_([state.value for state in ON_A_BOX]))
            for instance in session.scalars(on_boxes):
                if instance.box_id is not None:
                    amounts = filled_service(instance).spec.resources
                    reservation = Reservation(instance.box_id, instance.id, instance.generation, amounts)
                    wanted[instance.box_id][instance.id] = reservation
        now = time.time()
        for box in boxes:
            there = {item.instance: item for item in self._reservations.of(box)}
            for instance_id, reservation in wanted[box].items():
                if instance_id not in there or there[instance_id].generation < reservation.generation:
                    self._reservations.confirm(reservation)
            for instance_id, item in there.items():
                # A reservation that still may expire belongs to a placement that is not committed yet.
                if instance_id not in wanted[box] and (item.expires_at == 0 or item.expires_at < now):
                    self._reservations.release(box, instance_id)

    def _mend_wish_lists(self) -> None:
        with self._context.database.write() as session:
            drop_unused(session)
        with self._context.database.read() as session:
            expected = expected_wishes(session, self._context)
            boxes = list(session.scalars(select(Box.id)))
            listed = {box: self._writer.listed(box) for box in boxes}
            missing = [
                item.derive()
                for item in expected
                if listed.get(item.box, {}).get(item.field, (-1, -1)) < item.order
            ]
        self._writer.write(*missing)
        fields = {(item.box, item.field) for item in expected}
        unexpected = {(box, field) for box, orders in listed.items() for field in orders} - fields
        if unexpected:
            self._drop(unexpected)

    def _drop(self, unexpected: set[tuple[str, str]]) -> None:
        """Take wishes off their lists, but for those that SQL wants since the lists were read: look again first."""
        with self._context.database.read() as session:
            wanted = {(item.box, item.field) for item in expected_wishes(session, self._context)}
        for box, field in sorted(unexpected - wanted):
            role, _, subject = field.partition("/")
            self._writer.drop(box, Role(role), subject)

    def _resend(self) -> None:
        """Wake again what has not moved for a while, and end what takes too long."""
        now = time.time()
        pause = 2 * self._settings.reconcile_every_s
        with self._context.database.write() as session:
            moving = [S.PLACED.value, S.PREPARING.value, S.STOPPING.value]
            for instance in session.scalars(select(Instance).where(Instance.state.in_(moving))):
                with about(instance):
                    waited = now - instance.state_at
                    if S(instance.state) in (S.PLACED, S.PREPARING) and waited > self._settings.prepare_s:
                        self._give_up(session, instance)
                    elif waited > pause and instance.box_id is not None:
                        self._wake(session, instance)
            waiting = (
                select(func.count())
                .select_from(Instance)
                .where(Instance.state.in_([s.value for s in WAITING]))
            )
            if session.scalar(waiting):
                send_later(session, self._context.celery, PLACE_WAITING, SCHEDULER_QUEUE)

    def _give_up(self, session: Session, instance: Instance) -> None:
        instance.deployment.wanted = "stopped"
        instance.error = f"It was not ready within {self._settings.prepare_s:.0f} s."
        self._steps.stop(session, instance, instance.error)

    def _wake(self, session: Session, instance: Instance) -> None:
        box, subject, generation = str(instance.box_id), instance.id, instance.generation

        def wake() -> None:
            if self._redis.llen(role_queue(Role.COMPUTE, box)) < 2:  # a box that is away collects no pile
                self._writer.wake(box, Role.COMPUTE, subject, generation)

        after_commit(session, wake)
