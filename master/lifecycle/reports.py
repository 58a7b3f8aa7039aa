"""Takes in what boxes report. A report counts only for what was placed on the box that sends it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.logs import bind, get_logger
from common.metrics import REPORTS, SOURCE_BYTES, STEP_SECONDS
from common.reports import (
    Activity,
    CertificateAsked,
    Ended,
    Exported,
    Failed,
    FilesetHeld,
    Held,
    KeyMade,
    Lied,
    Mirrored,
    MirrorProgress,
    Preparing,
    Referred,
    Report,
    Running,
    StepDone,
    Stopped,
    read_report,
)
from common.words import InstanceState as S
from common.words import Role
from master.boxes.models import Box
from master.boxes.standing import accuse
from master.context import MasterContext
from master.db.session import after_commit
from master.deployments.events import about, add_row, set_state
from master.deployments.lease_services import note_use
from master.deployments.models import Instance, Mount, TimelineRow
from master.filesets.models import Fileset
from master.filesets.services import record_fileset_held, record_fileset_removed
from master.history.predicted import PREDICTED
from master.history.reading import EXPORT_FAILED
from master.images.referrers import record_referrers
from master.images.services import record_held
from master.images.services import record_removed as record_image_removed
from master.layers.services import record_evicted
from master.lifecycle.instances import Steps, current_mounts
from master.lifecycle.peers import others_fetching
from master.lifecycle.states import WANTED
from master.lifecycle.subjects import (
    FILESET,
    IMAGE,
    fileset_of_subject,
    image_of_subject,
    instance_of_subject,
    layer_order_of_subject,
    log_fields,
)
from master.lifecycle.wishes import WishWriter
from master.mirrors.services import (
    mirror_of_report,
    record_mirror_failed,
    record_mirrored,
    record_progress,
)
from master.trust.notary import renew_certificate

log = get_logger(__name__)

KEYS_KEPT = 2
# An instance that its box keeps interrupting is not tried for ever.
MOST_TRIES = 5
# Offers, exports, a fetch, mounts, a launch, a stop: a start with many filesets stays far below.
MOST_ROWS_OF_A_BOX = 64
# So many sources can have given a part of one image.
MOST_SOURCES = 64
COUNTED, IGNORED = "counted", "ignored"


class Reports:
    """One per lifecycle process."""

    def __init__(self, context: MasterContext) -> None:
        self._context = context
        self._steps = Steps(context)
        self._writer = WishWriter(context)
        self._handlers: dict[type[Any], Callable[[Session, str, Any], bool]] = {
            StepDone: self._step_done,
            Preparing: self._preparing,
            KeyMade: self._key_made,
            Exported: self._exported,
            Ended: self._ended,
            Running: self._running,
            Activity: self._activity,
            Stopped: self._stopped,
            Failed: self._failed,
            Held: self._held,
            Referred: self._referred,
            Lied: self._lied,
            FilesetHeld: self._fileset_held,
            MirrorProgress: self._mirror_progress,
            Mirrored: self._mirrored,
            CertificateAsked: self._certificate,
        }

    def take(self, box: str, text: str) -> bool:
        """Take in one report of `box`; returns whether it counted. Raises Unavailable when SQL is away."""
        try:
            report = read_report(text)
        except ValidationError as error:
            log.warning("report refused", box=box, errors=error.error_count())
            REPORTS.labels("unreadable", IGNORED).inc()
            return False
        fields = log_fields(report.subject, report.generation)
        with bind(box=box, **fields), self._context.database.write() as session:
            counted = self._handle(session, box, report)
            log.debug("report", kind=report.kind, counted=counted)
        REPORTS.labels(report.kind, COUNTED if counted else IGNORED).inc()
        return counted

    def _handle(self, session: Session, box: str, report: Report) -> bool:
        named = instance_of_subject(report.subject)
        instance = session.get(Instance, named) if named else None
        with bind(deployment=instance.deployment_id) if instance else nullcontext():
            return self._handlers[type(report)](session, box, report)

    def _placed(self, session: Session, box: str, report: Report) -> Instance | None:
        """The instance that a compute box reports of, if this generation was placed there."""
        instance = session.get(Instance, report.subject, with_for_update=True)
        if instance is None or instance.box_id != box or instance.generation != report.generation:
            return None
        return instance

    def _mount(self, session: Session, box: str, report: Report) -> list[Mount]:
        """The mounts that a filestore reports of (one fileset may be mounted at several places)."""
        instance, _, fileset = report.subject.partition(".")
        statement = select(Mount).where(
            Mount.instance_id == instance,
            Mount.fileset_id == fileset,
            Mount.generation == report.generation,
            Mount.box_id == box,
        )
        return list(session.scalars(statement))

    def _step_done(self, session: Session, box: str, report: StepDone) -> bool:
        instance = session.get(Instance, report.subject.partition(".")[0])
        if instance is None or instance.generation != report.generation or not self._works_for(instance, box):
            return False
        detail = _detail(session, instance, report)
        written = self._written(session, instance, box, report)
        if (report.step, detail) in written:
            return True  # reports may be doubled
        if len(written) >= MOST_ROWS_OF_A_BOX:
            log.warning("step not written down: this box has told more of the instance than any start takes")
            return False
        sources = _sources(session, report)
        STEP_SECONDS.labels(report.step).observe(report.took_s)
        for source, size_bytes in sources.items():
            SOURCE_BYTES.labels(source).inc(size_bytes)
        add_row(
            session,
            self._context.redis,
            instance,
            report.step,
            at=report.at,
            box_id=box,
            took_s=report.took_s,
            size_bytes=report.size_bytes,
            sources=sources,
            detail=detail,
        )
        return True

    @staticmethod
    def _works_for(instance: Instance, box: str) -> bool:
        holders = {name for boxes in instance.depositories.values() for name in boxes}
        return (
            box == instance.box_id or box in holders or any(mount.box_id == box for mount in instance.mounts)
        )

    @staticmethod
    def _written(session: Session, instance: Instance, box: str, report: StepDone) -> set[tuple[str, str]]:
        """Step and detail of what this box has told of this generation."""
        rows = select(TimelineRow.step, TimelineRow.detail).where(
            TimelineRow.instance_id == instance.id,
            TimelineRow.generation == report.generation,
            TimelineRow.box_id == box,
            TimelineRow.took_s.is_not(None),
            TimelineRow.step != PREDICTED,
        )
        return {(step, detail) for step, detail in session.execute(rows)}

    def _preparing(self, session: Session, box: str, report: Preparing) -> bool:
        instance = self._placed(session, box, report)
        if instance is None or instance.state != S.PLACED.value:
            return False
        set_state(session, self._context.redis, instance, S.PREPARING, "preparing", at=report.at)
        return True

    def _key_made(self, session: Session, box: str, report: KeyMade) -> bool:
        instance = self._placed(session, box, report)
        if instance is None or S(instance.state) not in (S.PLACED, S.PREPARING, S.RUNNING):
            return False
        mounts = [mount for mount in current_mounts(instance) if mount.fileset_id == report.fileset]
        for mount in mounts:
            if report.public_key not in mount.public_keys:
                mount.public_keys = [*mount.public_keys, report.public_key][-KEYS_KEPT:]
                self._steps.export(session, mount, "exporting" if mount.endpoint is None else mount.state)
        return bool(mounts)

    def _exported(self, session: Session, box: str, report: Exported) -> bool:
        mounts = self._mount(session, box, report)
        changed = False
        for mount in mounts:
            if mount.state not in ("exporting", "exported") or set(mount.public_keys) - set(
                report.public_keys
            ):
                continue
            endpoint = report.endpoint.model_dump()
            if mount.state == "exported" and mount.endpoint == endpoint and mount.host_key == report.host_key:
                changed = changed or len(mount.public_keys) == KEYS_KEPT
                continue
            mount.state, mount.endpoint, mount.host_key = "exported", endpoint, report.host_key
            changed = True
        if changed and all(mount.state == "exported" for mount in current_mounts(mounts[0].instance)):
            self._steps.rewish(session, mounts[0].instance)
        return bool(mounts)

    def _ended(self, session: Session, box: str, report: Ended) -> bool:
        if (digest := image_of_subject(session, report.subject)) is not None:
            record_image_removed(session, box, digest)
            return True
        if (fileset := fileset_of_subject(report.subject)) is not None:
            record_fileset_removed(session, box, fileset)
            return True
        if (order := layer_order_of_subject(session, box, report.subject)) is not None:
            record_evicted(session, box, order)
            return True
        mounts = [mount for mount in self._mount(session, box, report) if mount.state == "ending"]
        for mount in mounts:
            self._steps.mount_ended(session, mount, report.at)
        return bool(mounts)

    def _running(self, session: Session, box: str, report: Running) -> bool:
        instance = self._placed(session, box, report)
        if instance is None or S(instance.state) not in (S.PLACED, S.PREPARING, S.LOST):
            return False
        set_state(session, self._context.redis, instance, S.RUNNING, "running", at=report.at)
        self._steps.settle(session, instance)
        return True

    def _activity(self, session: Session, box: str, report: Activity) -> bool:
        rows = session.scalars(
            select(Instance).where(Instance.id.in_(report.idle_s), Instance.box_id == box)
        ).all()
        for instance in rows:
            if S(instance.state) is S.RUNNING:
                with about(instance):
                    note_use(session, self._steps, instance, report.idle_s[instance.id])
        return bool(rows)

    def _stopped(self, session: Session, box: str, report: Stopped) -> bool:
        instance = self._placed(session, box, report)
        if instance is None or S(instance.state).is_over:
            return False
        instance.exit_code = report.exit_code
        if instance.error is not None:  # it was stopped because it could not go on
            self._steps.over(session, instance, S.FAILED, "failed", instance.error, at=report.at)
            return True
        ended = "Stopped." if report.exit_code is None else f"Ended with exit code {report.exit_code}."
        self._steps.over(session, instance, S.STOPPED, "stopped", ended, at=report.at)
        return True

    def _failed(self, session: Session, box: str, report: Failed) -> bool:
        if (mirror := mirror_of_report(session, box, report.subject)) is not None:
            record_mirror_failed(session, mirror, report)
            self._drop_mirror(session, box, report)
            return True
        if mounts := self._mount(session, box, report):
            return self._export_failed(session, box, mounts[0].instance, report)
        if report.subject.startswith((IMAGE, FILESET)):
            # The copy is asked for again after a while; until then it counts as one that is to come.
            log.warning("copy not made", reason=report.reason, error=report.message)
            return True
        instance = self._placed(session, box, report)
        if instance is None or S(instance.state).is_over:
            return False
        if S(instance.state) is S.STOPPING:
            self._steps.over(session, instance, S.STOPPED, "stopped", report.message, at=report.at)
        elif report.reason == "no-room":
            self._steps.again(session, instance, report.message, without=box, reason=report.reason)
        elif report.reason == "interrupted" and instance.generation < MOST_TRIES:
            self._steps.again(session, instance, report.message, reason=report.reason)
        else:
            instance.error = report.message
            self._steps.over(
                session, instance, S.FAILED, "failed", report.message, at=report.at, reason=report.reason
            )
        return True

    def _export_failed(self, session: Session, box: str, instance: Instance, report: Failed) -> bool:
        """A filestore cannot export: what would wait for its files for ever is stopped, and has failed."""
        if instance.generation != report.generation or S(instance.state) not in WANTED:
            return False
        instance.error = report.message
        told = {"at": report.at, "box_id": box, "detail": report.message, "reason": report.reason}
        add_row(session, self._context.redis, instance, EXPORT_FAILED, **told)
        instance.deployment.wanted = "stopped"
        self._steps.stop(session, instance, report.message)
        return True

    def _held(self, session: Session, box: str, report: Held) -> bool:
        record_held(session, self._context.redis, box, report)
        return True

    def _referred(self, session: Session, box: str, report: Referred) -> bool:
        return record_referrers(session, box, report.referrers)

    def _lied(self, session: Session, box: str, report: Lied) -> bool:
        """Only what the box was told to ask can have lied to it."""
        if report.subject.startswith(IMAGE):
            named = self._writer.sources_of_hold(box, report.subject)
        elif (instance := self._placed(session, box, report)) is not None:
            named = _sources_named(session, instance)
        else:
            return False
        accuse(self._context.redis, named.intersection(report.boxes), by=box)
        return bool(named.intersection(report.boxes))

    def _mirror_progress(self, session: Session, box: str, report: MirrorProgress) -> bool:
        mirror = mirror_of_report(session, box, report.subject)
        if mirror is not None:
            record_progress(mirror, report)
        return mirror is not None

    def _mirrored(self, session: Session, box: str, report: Mirrored) -> bool:
        mirror = mirror_of_report(session, box, report.subject)
        if mirror is not None:
            record_mirrored(session, mirror, report)
            self._drop_mirror(session, box, report)
        return mirror is not None

    def _drop_mirror(self, session: Session, box: str, report: Report) -> None:
        after_commit(session, lambda: self._writer.drop(box, Role.DEPOSITORY, report.subject))

    def _certificate(self, session: Session, box: str, report: CertificateAsked) -> bool:
        return renew_certificate(session, self._context, box, report)

    def _fileset_held(self, session: Session, box: str, report: FilesetHeld) -> bool:
        record_fileset_held(session, box, report)
        return True


def _sources_named(session: Session, instance: Instance) -> set[str]:
    """The boxes that the instance's box was told to fetch from."""
    named = {str(name) for boxes in instance.depositories.values() for name in boxes}
    return named | {peer.box for peer in others_fetching(session, instance)}


def _sources(session: Session, report: StepDone) -> dict[str, int]:
    """Bytes by box, for the boxes that exist: a box's word makes no names on pages or in metrics."""
    known = set(session.scalars(select(Box.id).where(Box.id.in_(list(report.sources)[:MOST_SOURCES]))))
    return {name: size for name, size in report.sources.items() if name in known and size >= 0}


def _detail(session: Session, instance: Instance, report: StepDone) -> str:
    """What the row says beside the step; a fileset is called by its name, as people know it."""
    if report.detail not in {mount.fileset_id for mount in instance.mounts}:
        return report.detail
    return session.get_one(Fileset, report.detail).name
