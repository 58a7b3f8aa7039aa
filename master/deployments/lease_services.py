"""Leases at work: extended by a person or by use, warned of, and ended where nobody uses what runs."""

from __future__ import annotations

import time
from collections.abc import Mapping

import redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.errors import Conflict
from common.logs import get_logger
from common.settings import Settings
from common.words import InstanceState as S
from master.accounts.models import User
from master.audit.services import record
from master.catalogue.manifest import Manifest
from master.context import MasterContext
from master.db.session import after_commit
from master.deployments.events import about, add_row, announce
from master.deployments.leases import KEPT_S, end_by_use, longest_s
from master.deployments.models import Deployment, Instance
from master.deployments.services import find_deployment
from master.lifecycle.instances import Steps, current_mounts
from master.limits import services as limits

log = get_logger(__name__)

_WORKED_FOR = (S.PLACED, S.PREPARING, S.RUNNING)


def extend_lease(
    context: MasterContext, user: User, deployment_id: str, by_s: float | None = None
) -> Deployment:
    """Let a deployment's lease end later, by `by_s` or by one lease, as far as it may. Raises NotFound, Conflict."""
    steps = Steps(context)
    with context.database.write() as session:
        deployment = find_deployment(session, user, deployment_id)
        _renew_limit(session, context.settings, deployment)
        latest = deployment.latest_end
        if deployment.wanted != "running" or latest is None or deployment.is_kept:
            raise Conflict(
                f"{deployment.title} has no lease that could be extended: "
                f"{'an operator keeps it' if deployment.is_kept else 'it does not run'}.",
                field="id",
            )
        end = min(deployment.lease_end + (by_s or deployment.lease_step_s), latest)
        if end <= deployment.lease_end:
            raise Conflict(
                f"The lease of {deployment.title} is as long as it may be.",
                field="id",
                remedy="Save your work, stop it and start it again; or ask an operator to keep it.",
            )
        _record(session, "deployment.extend", deployment, {"lease_end": end})
        _set_end(session, context.redis, steps, deployment, end)
        for instance in deployment.instances:
            with about(instance):
                add_row(
                    session, context.redis, instance, "extended", detail=f"{user.name} extended the lease."
                )
    return deployment


def keep(context: MasterContext, user: User, deployment_id: str, *, is_kept: bool) -> Deployment:
    """Let a deployment run without lease and idle stop, or have both again from now on.

    Raises NotFound, Conflict, LimitReached where a limit of hours counts for its owner: only administrators lift it.
    """
    steps, now = Steps(context), time.time()
    with context.database.write() as session:
        deployment = find_deployment(session, user, deployment_id)
        if deployment.wanted != "running":
            raise Conflict(f"{deployment.title} does not run any more.", field="id")
        if deployment.is_kept == is_kept:
            return deployment
        if is_kept:
            limits.check_may_keep(session, user, deployment.user)
        _renew_limit(session, context.settings, deployment)
        _record(session, "deployment.keep", deployment, {"kept": is_kept})
        deployment.is_kept = is_kept
        deployment.used_at = now
        if not is_kept and deployment.begun_at is not None:
            deployment.begun_at = now
        lasts_s = KEPT_S if is_kept else min(deployment.lease_step_s, deployment.lease_limit_s)
        _set_end(session, context.redis, steps, deployment, now + lasts_s)
        for instance in deployment.instances:
            with about(instance):
                what = "keeps it: no lease and no idle stop" if is_kept else "gave it a lease again"
                add_row(session, context.redis, instance, "kept", detail=f"{user.name} {what}.")
    return deployment


def _renew_limit(session: Session, settings: Settings, deployment: Deployment) -> None:
    """What its owner may now counts, not what was so when it began."""
    manifest = Manifest.model_validate(deployment.manifest)
    person_s = limits.longest_lease_s(session, deployment.user)
    deployment.lease_limit_s = longest_s(manifest, settings, person_s)


def _record(session: Session, action: str, deployment: Deployment, after: Mapping[str, float | bool]) -> None:
    was = {"lease_end": deployment.lease_end, "kept": deployment.is_kept, "owner": deployment.user.name}
    before = {name: value for name, value in was.items() if name in (*after, "owner")}
    record(session, action, f"deployment:{deployment.id}", before=before, after=after)


def note_use(session: Session, steps: Steps, instance: Instance, idle_s: float) -> None:
    """A box says that nobody used an instance for so long: what is used lives longer, what is not may end."""
    deployment, now = instance.deployment, time.time()
    # Never before it ran: a restarted box may know of older times.
    used_at = max(now - idle_s, instance.state_at)
    deployment.used_at = max(deployment.used_at or 0.0, used_at)
    if deployment.is_kept or deployment.wanted != "running":
        return
    idle_s = now - deployment.used_at
    if 0 < deployment.idle_stop_s <= idle_s:
        _end_idle(session, steps, deployment, idle_s)
        return
    latest, by_use_s = deployment.latest_end, steps.settings.lease_by_use_s
    if latest is None or not by_use_s:
        return
    if end_by_use(deployment.lease_end, latest, by_use_s, deployment.used_at) is None:
        return
    _renew_limit(session, steps.settings, deployment)
    latest = deployment.latest_end or latest
    if (end := end_by_use(deployment.lease_end, latest, by_use_s, deployment.used_at)) is not None:
        _set_end(session, steps.redis, steps, deployment, end)


def _end_idle(session: Session, steps: Steps, deployment: Deployment, idle_s: float) -> None:
    minutes = round(idle_s / 60)
    why = f"Nobody used it for {minutes} minutes; its files are kept." if minutes > 1 else "Nobody used it."
    log.info("deployment ends for lack of use", deployment=deployment.id, idle_s=round(idle_s))
    deployment.wanted = "stopped"
    for instance in deployment.instances:
        with about(instance):
            steps.stop(session, instance, why)


def warn(session: Session, client: redis.Redis, warn_s: float, now: float) -> None:
    """Tell the people whose leases end soon, once for each end."""
    ending = select(Deployment).where(
        Deployment.wanted == "running",
        Deployment.begun_at.is_not(None),
        Deployment.lease_end < now + warn_s,
        Deployment.lease_end > now,
        (Deployment.warned_for.is_(None)) | (Deployment.warned_for != Deployment.lease_end),
    )
    for deployment in session.scalars(ending):
        deployment.warned_for = deployment.lease_end
        minutes = max(1, round((deployment.lease_end - now) / 60))
        can = (deployment.latest_end or 0.0) > deployment.lease_end + 1
        more = "Extend it on its page." if can else "It cannot be extended further: save your work."
        for instance in deployment.instances:
            if S(instance.state) is S.RUNNING:
                with about(instance):
                    text = f"The lease ends in {minutes} min. {more}"
                    add_row(session, client, instance, "ending", detail=text)


def _set_end(session: Session, client: redis.Redis, steps: Steps, deployment: Deployment, end: float) -> None:
    """Every box that works for it hears of the new end."""
    deployment.lease_end = end
    for instance in deployment.instances:
        if S(instance.state) not in _WORKED_FOR:
            continue
        with about(instance):
            steps.rewish(session, instance)
            for mount in current_mounts(instance):
                if mount.state in ("exporting", "exported"):
                    steps.export(session, mount, mount.state)
            after_commit(session, lambda told=instance: announce(client, told, 0))  # type: ignore[misc]
