"""Writes placements down: many in one transaction, then the messages that follow from them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import redis
from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session, joinedload, selectinload

from common.errors import Unavailable
from common.logs import get_logger
from common.words import InstanceState, MountMode
from master.accounts.models import User
from master.boxes.standing import accused, trusted
from master.context import MasterContext
from master.db.session import after_commit
from master.deployments.events import set_state
from master.deployments.models import Deployment, Instance, Mount
from master.deployments.neighbours import beside_and_apart
from master.deployments.wanted import WantedMount, active_writer
from master.filesets.models import Fileset, FilesetCopy, FilesetKind
from master.history.predicted import write_prediction
from master.lifecycle.peers import MOST_PEERS, fetching
from master.lifecycle.reads import Reads
from master.lifecycle.wishes import BoxWish, WishWriter, compute_wish, depository_boxes, offer_wishes
from master.scheduler.asks import Ask, waits
from master.scheduler.reservations import Reservation, Reservations
from master.scheduling.request import Decision, LeftOut, Placement

log = get_logger(__name__)

# What becomes of a request that is tried. `put off`: it is tried again with what has changed meanwhile.
PLACED, QUEUED, STALE, FAILED, PUT_OFF = "placed", "queued", "stale", "failed", "put off"
HOLDERS_PER_BLOB = 16
LEFT_OUT_KEPT = 50


@dataclass(frozen=True)
class Taken:
    """A placement whose room is reserved."""

    ask: Ask
    placement: Placement
    reservation: Reservation
    decision: Decision


@dataclass(frozen=True)
class Refused:
    """A request that has to wait, and why."""

    ask: Ask
    reason: str
    left_out: tuple[LeftOut, ...]


class Placements:
    """Commits what was decided."""

    def __init__(self, context: MasterContext, reservations: Reservations) -> None:
        self._context = context
        self._reservations = reservations
        self._writer = WishWriter(context)

    def write(self, taken: Sequence[Taken], refused: Sequence[Refused] = ()) -> dict[str, str]:
        """What became of each: `placed`, `queued`, `stale` or `failed`.

        All in one transaction. If that fails, each for itself: one that cannot be written down keeps no other from
        its place. Room that was reserved for nothing is given back. Raises Unavailable if SQL is away.
        """
        if not taken and not refused:
            return {}
        bad = accused(self._context.redis, _named(taken)) if taken else frozenset[str]()
        try:
            outcomes = self._write(taken, refused, bad)
        except (Unavailable, redis.RedisError):
            raise
        except Exception:
            log.exception("batch not written, each is tried alone", placements=len(taken))
            outcomes = {}
            for item in taken:
                outcomes |= self._alone([item], [], bad)
            for one in refused:
                outcomes |= self._alone([], [one], bad)
        for item in taken:
            if outcomes[item.ask.instance] != PLACED:
                self._reservations.release(item.placement.compute, item.ask.instance)
        return outcomes

    def _alone(self, taken: list[Taken], refused: list[Refused], bad: frozenset[str]) -> dict[str, str]:
        try:
            return self._write(taken, refused, bad)
        except (Unavailable, redis.RedisError):
            raise
        except Exception:
            (one,) = [item.ask.instance for item in taken] + [item.ask.instance for item in refused]
            log.exception("placement not written", instance=one)
            return {one: FAILED}

    def _write(
        self, taken: Sequence[Taken], refused: Sequence[Refused], bad: frozenset[str]
    ) -> dict[str, str]:
        names = [item.ask.instance for item in taken] + [item.ask.instance for item in refused]
        outcomes = dict.fromkeys(names, STALE)
        with self._context.database.write() as session:
            rows = _locked(session, names)
            placed: list[Taken] = []
            for item in taken:
                instance = rows.get(item.ask.instance)
                if instance is None or not waits(instance, item.ask.queued.generation):
                    continue
                if _is_elsewhere(session, item) or _is_too_near(session, instance, item):
                    outcomes[instance.id] = PUT_OFF
                    continue
                self._place(session, instance, item, bad)
                outcomes[instance.id] = PLACED
                placed.append(item)
            for one in refused:
                instance = rows.get(one.ask.instance)
                if instance is not None and waits(instance, one.ask.queued.generation):
                    self._queue(session, instance, one)
                    outcomes[instance.id] = QUEUED
            session.flush()
            if placed:
                new = [item.ask.instance for item in placed]
                others = _introduce(session, [rows[name] for name in new])
                # Confirmed before a box hears of it: what runs gives room back by the same key.
                after_commit(
                    session, lambda: self._reservations.confirm(*[item.reservation for item in placed])
                )
                after_commit(session, lambda: self._tell_boxes(new, others))
        return outcomes

    def _place(self, session: Session, instance: Instance, item: Taken, bad: frozenset[str]) -> None:
        placement = item.placement
        instance.deployment.begin(time.time())
        instance.box_id = placement.compute
        instance.depositories = {
            digest: trusted(boxes, bad)[:HOLDERS_PER_BLOB] for digest, boxes in placement.depositories.items()
        }
        instance.variant_digest = placement.image or None
        instance.reason = placement.reason
        instance.considered = _explain(item.decision.left_out)
        instance.wish_version = 1
        for mount in item.ask.want.mounts:
            _mount(session, instance, mount, placement)
        write_prediction(session, self._context.redis, instance, placement)
        set_state(
            session, self._context.redis, instance, InstanceState.PLACED, "placed", detail=placement.reason
        )

    def _queue(self, session: Session, instance: Instance, item: Refused) -> None:
        """No box can take it now: it waits, and says what for."""
        if instance.reason != item.reason:
            instance.reason, instance.considered = item.reason, _explain(item.left_out)
        if instance.state != InstanceState.QUEUED.value:
            set_state(
                session, self._context.redis, instance, InstanceState.QUEUED, "queued", detail=item.reason
            )

    def _tell_boxes(self, placed: Sequence[str], others: Sequence[str]) -> None:
        """Wishes for what was placed, and for `others`, which fetch the same image and hear of the new ones.

        What goes wrong here is mended by the reconciler: all that has to be known is committed.
        """
        if not placed:
            return
        with self._context.database.read() as session:
            depositories = depository_boxes(session)
            rows = session.scalars(_whole().where(Instance.id.in_([*placed, *others]))).all()
            wishes: list[BoxWish] = []
            reads = Reads(session, self._context)
            for instance in rows:
                try:
                    wishes.append(compute_wish(session, self._context, instance, reads))
                except Exception:
                    log.exception("wish not derived", instance=instance.id)
                    continue
                if instance.id in placed:
                    wishes += offer_wishes(instance, depositories=depositories)
        self._writer.write(*wishes)


def _introduce(session: Session, placed: Sequence[Instance]) -> list[str]:
    """The wishes of those who fetch the same images already name the new boxes from now on."""
    new = {instance.id for instance in placed}
    known: set[str] = set()
    for instance in {item.image_digest: item for item in placed}.values():
        known |= {
            peer.instance for peer in fetching(session, instance.image_digest, besides=new)[:MOST_PEERS]
        }
    if known:
        # Locked in one order everywhere, so that two schedulers never wait for each other.
        ordered = select(Instance.id).where(Instance.id.in_(known)).order_by(Instance.id)
        session.execute(ordered.with_for_update())
        session.execute(
            update(Instance)
            .where(Instance.id.in_(known))
            .values(wish_version=Instance.wish_version + 1)
            .execution_options(synchronize_session=False)
        )
    return sorted(known)


def _named(taken: Sequence[Taken]) -> set[str]:
    return {box for item in taken for boxes in item.placement.depositories.values() for box in boxes}


def _whole() -> Select[Instance]:
    """Instances with all that wishes are derived from."""
    return select(Instance).options(
        joinedload(Instance.deployment).joinedload(Deployment.user),
        joinedload(Instance.deployment).selectinload(Deployment.instances),
        selectinload(Instance.mounts),
    )


def _locked(session: Session, names: Sequence[str]) -> dict[str, Instance]:
    """The rows, which nobody else changes until the end; always locked in the same order."""
    statement = _whole().where(Instance.id.in_(names)).order_by(Instance.id).with_for_update(of=Instance)
    return {instance.id: instance for instance in session.scalars(statement)}


def _is_elsewhere(session: Session, item: Taken) -> bool:
    """Whether a home that lay nowhere when this was decided lies on another box by now."""
    for mount in item.ask.want.mounts:
        if mount.fileset.kind != FilesetKind.HOME.value:
            continue
        fileset = session.get_one(Fileset, mount.fileset.id, with_for_update=True)
        boxes = [copy.box_id for copy in fileset.copies if not copy.follows]
        if boxes and item.placement.filestores[fileset.id] not in boxes:
            return True
    return False


def _is_too_near(session: Session, instance: Instance, item: Taken) -> bool:
    """Whether something that it is to be apart from came to that box since this was decided."""
    if not item.ask.request.apart:
        return False
    # Another scheduler may be placing the neighbour: one after the other, by the person whose both are.
    session.get_one(User, instance.deployment.user_id, with_for_update=True)
    _, apart = beside_and_apart(session, instance, item.ask.want.filled.placement)
    return any(item.placement.compute in one.boxes for one in apart)


def _mount(session: Session, instance: Instance, mount: WantedMount, placement: Placement) -> None:
    fileset = session.get_one(Fileset, mount.fileset.id, with_for_update=True)
    store = placement.filestores[fileset.id]
    mode = placement.modes[fileset.id]
    if fileset.kind == FilesetKind.HOME.value and not fileset.copies:
        fileset.copies.append(FilesetCopy(box_id=store, version=fileset.version))
    if mode is MountMode.READ_WRITE:
        mode = _write_permission(session, instance, fileset, placement.compute)
    instance.mounts.append(
        Mount(
            generation=instance.generation,
            target=mount.target,
            fileset_id=fileset.id,
            fileset_version=fileset.version,
            mode=mode.value,
            box_id=store,
            compute_box_id=placement.compute,
            fence=fileset.fence,
        )
    )


def _write_permission(session: Session, instance: Instance, fileset: Fileset, box: str) -> MountMode:
    """One writer: this box may write if nobody else does; a new writer gets a higher fence."""
    writer = active_writer(session, fileset, besides=instance.id)
    if writer is not None and writer != box:
        return MountMode.READ_ONLY
    if writer is None:
        fileset.fence += 1
        fileset.writer_box_id = box
    return MountMode.READ_WRITE


def _explain(left_out: tuple[LeftOut, ...]) -> list[dict[str, str]]:
    return [{"box": item.box, "why": item.why} for item in left_out[:LEFT_OUT_KEPT]]
