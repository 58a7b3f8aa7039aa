"""Inviting, joining and ending. Ending is a wish like any other: the box cuts who came by the share."""

from __future__ import annotations

import secrets
import time

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from common.errors import BadInput, Conflict, Forbidden, NotFound, Unauthorized
from common.logs import get_logger
from common.words import InstanceState, SessionMode, new_id
from master.accounts.models import User
from master.accounts.passwords import token_hash
from master.audit.services import record
from master.catalogue.manifest import Manifest
from master.context import MasterContext
from master.deployments.events import about, add_row
from master.deployments.models import Deployment
from master.deployments.opening import open_as_guest
from master.deployments.services import find_deployment
from master.lifecycle.instances import Steps
from master.lifecycle.states import ON_A_BOX
from master.sharing.models import Share
from master.sharing.rights import Right, right_to_join

log = get_logger(__name__)

MOST_SHARES = 50
SHORTEST_S, LONGEST_S, USUAL_S = 60.0, 7 * 86400.0, 4 * 3600.0
TOKEN_BYTES = 24
NAME_CHARACTERS = 40


def create_share(
    context: MasterContext,
    user: User,
    deployment_id: str,
    *,
    mode: SessionMode,
    lasts_s: float = USUAL_S,
    needs_account: bool = False,
    label: str = "",
) -> tuple[Share, str]:
    """Invite by link; gives the share and the secret of its link, which is kept nowhere.

    Raises NotFound for a deployment that is not this person's, BadInput for a mode that its way of access cannot
    keep, Conflict when it has ended or has many invitations already.
    """
    with context.database.write() as session:
        deployment = _own(session, user, deployment_id)
        _check_mode(deployment, mode)
        now = time.time()
        statement = select(func.count()).where(
            Share.deployment_id == deployment.id, Share.ended_at.is_(None), Share.expires_at > now
        )
        if (session.scalar(statement) or 0) >= MOST_SHARES:
            raise Conflict(f"There are {MOST_SHARES} invitations already.", remedy="End some of them.")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        share = Share(
            id=new_id("s"),
            deployment_id=deployment.id,
            token_hash=token_hash(token),
            mode=mode.value,
            needs_account=needs_account,
            label=label,
            user_id=user.id,
            expires_at=now + min(max(lasts_s, SHORTEST_S), LONGEST_S),
        )
        session.add(share)
        session.flush()
        session.refresh(share)
        _ = share.user
        record(session, "share.add", subject_of(share), after=_shown(share))
    log.info("session shared", deployment=deployment_id, share=share.id, mode=mode.value)
    return share, token


def _own(session: Session, user: User, deployment_id: str) -> Deployment:
    deployment = find_deployment(session, user, deployment_id)
    if deployment.wanted != "running" or deployment.ended_at is not None:
        raise Conflict(f"{deployment.title} has ended.", remedy="Start it again first.")
    return deployment


def _check_mode(deployment: Deployment, mode: SessionMode) -> None:
    if mode is SessionMode.WATCH and not can_be_watched(deployment):
        raise BadInput(
            f"{deployment.title} shows pages of its own, in which nobody can be kept from typing.",
            field="mode",
            remedy="Invite to take control, or to nothing.",
        )


def can_be_watched(deployment: Deployment) -> bool:
    """Whether the service that people open can be shown to somebody who only looks on."""
    services = Manifest.model_validate(deployment.manifest).services
    opened = [services[item.service].access for item in deployment.instances]
    return any(way.has_page for way in opened) and next(way for way in opened if way.has_page).can_be_watched


def list_shares(session: Session, user: User, deployment_id: str) -> list[Share]:
    """The newest first. Raises NotFound."""
    deployment = find_deployment(session, user, deployment_id)
    statement = select(Share).where(Share.deployment_id == deployment.id).order_by(Share.created_at.desc())
    found = list(session.scalars(statement))
    for share in found:
        _ = share.user
    return found


def end_share(context: MasterContext, user: User, deployment_id: str, share_id: str) -> Share:
    """End an invitation and cut who came by it; repeating it does no harm. Raises NotFound."""
    steps = Steps(context)
    with context.database.write() as session:
        deployment = find_deployment(session, user, deployment_id)
        share = session.get(Share, share_id)
        if share is None or share.deployment_id != deployment.id:
            raise NotFound(f"{deployment_id} has no share {share_id}.", field="share")
        if share.ended_at is None:
            share.ended_at = time.time()
            record(session, "share.end", subject_of(share), before=_shown(share))
            deployment.ended_shares = [*deployment.ended_shares, share.id]
            for instance in deployment.instances:
                if instance.state in ON_A_BOX and instance.box_id is not None:
                    steps.rewish(session, instance)
        _ = share.user
    return share


def subject_of(share: Share) -> str:
    """How the audit log names an invitation."""
    return f"share:{share.id}"


def _shown(share: Share) -> dict[str, str | bool | float]:
    return {
        "deployment": share.deployment_id,
        "mode": share.mode,
        "label": share.label,
        "needs_account": share.needs_account,
        "expires_at": share.expires_at,
    }


# Coming in


def find_invitation(session: Session, token: str) -> Share:
    """The open invitation behind a link. Raises NotFound for one that never was, has expired or was ended."""
    share = session.scalar(select(Share).where(Share.token_hash == token_hash(token)).limit(1))
    if share is None or not share.is_open(time.time()) or not _is_given(share):
        raise _ended()
    _ = share.user, share.deployment.user, share.deployment.instances
    return share


def _is_given(share: Share) -> bool:
    """Whether what it leads to runs, and whoever made it and whose it is may still sign in."""
    return share.deployment.wanted == "running" and share.user.active and share.deployment.user.active


def _ended() -> NotFound:
    return NotFound("This invitation has ended, or never was.", remedy="Ask who invited you for another one.")


def join(context: MasterContext, token: str, user: User | None, name: str = "") -> str:
    """The address that lets a guest in, once. Raises NotFound, Unauthorized where an account is needed, BadInput for
    somebody without a name."""
    with context.database.read() as session:
        share = find_invitation(session, token)
    if share.needs_account and user is None:
        raise Unauthorized("This invitation is for people with an account.", remedy="Sign in first.")
    shown = user.name if user is not None else name.strip()[:NAME_CHARACTERS]
    if not shown:
        raise BadInput("Say who you are: the others see it.", field="name")
    shown = shown if user is not None else f"{shown} (guest)"
    url = _way_in(context, share, share.deployment, shown, user)
    with context.database.write() as session:
        still = (Share.id == share.id, Share.ended_at.is_(None))
        counted = session.execute(update(Share).where(*still).values(uses=Share.uses + 1))
        if not counted.rowcount:  # type: ignore[attr-defined]
            raise _ended()
        _note_down(session, share, shown)
    return url


def join_by_right(context: MasterContext, user: User, deployment_id: str, mode: SessionMode) -> str:
    """Somebody who may, such as a teacher of the owner's group, comes in; the owner sees it on the session's page.

    Raises NotFound if there is no such deployment for this person, Forbidden if there is no such right.
    """
    with context.database.read() as session:
        deployment = session.get(Deployment, deployment_id)
        right = None if deployment is None else right_to_join(session, user, deployment)
        if deployment is None or right is None:
            raise Forbidden(
                f"You may not join {deployment_id}.",
                remedy="Ask its owner for an invitation; teachers may join the people of their groups.",
            )
        _check_mode(deployment, mode)
        _ = deployment.instances
    share = Share(
        id=new_id("s"),
        deployment_id=deployment.id,
        mode=mode.value,
        needs_account=True,
        label=f"{user.name} joined by right",
        user_id=user.id,
        uses=1,
        expires_at=max(deployment.lease_end, time.time() + SHORTEST_S),
    )
    shown = f"{user.name} ({right})"
    url = _way_in(context, share, deployment, shown, user)
    with context.database.write() as session:
        session.add(share)
        session.flush()
        session.refresh(share)
        _note_down(session, share, shown)
        _tell_owner(context, session, share, right)
    return url


def _note_down(session: Session, share: Share, name: str) -> None:
    record(session, "share.join", subject_of(share), after={"deployment": share.deployment_id, "by": name})


def _tell_owner(context: MasterContext, session: Session, share: Share, right: Right) -> None:
    """Nobody is watched without knowing it: it stands on the deployment's page at once."""
    how = "to watch" if share.mode == SessionMode.WATCH.value else "and may take control"
    for instance in share.deployment.instances:
        if instance.state == InstanceState.RUNNING.value:
            with about(instance):
                detail = f"{share.user.name} ({right}) joined {how}; you may end that under Share."
                add_row(session, context.redis, instance, "joined", detail=detail)


def _way_in(
    context: MasterContext, share: Share, deployment: Deployment, name: str, user: User | None
) -> str:
    """Asks Redis where the box is, so it is no part of a transaction that others wait for."""
    log.info("somebody joins a session", deployment=deployment.id, share=share.id, by=name)
    return open_as_guest(
        context,
        deployment,
        user=user.id if user is not None else "guest",
        name=name,
        mode=SessionMode(share.mode),
        share=share.id,
        until=share.expires_at,
    )
