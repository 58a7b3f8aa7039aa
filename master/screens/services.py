"""Which screens a person may look at, and the tickets by which a browser gets small pictures from their boxes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from urllib.parse import urlencode, urlsplit

import redis
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session, contains_eager, joinedload

from common.errors import Forbidden
from common.names import look_key, status_key
from common.status import BoxStatus
from common.tickets import PictureTicket, issue
from common.words import Endpoint, InstanceState
from master.accounts.models import User, UserRole
from master.catalogue.manifest import Manifest
from master.context import MasterContext
from master.deployments.events import about, add_row
from master.deployments.models import Deployment, Instance
from master.people import groups

PATH = "/_openraas/pictures"
# A page that is left open asks for new ones; who may look no more sees nothing after so long.
TICKET_S = 300.0
MOST_SCREENS = 200
TOLD_S = 3600


class Screen(BaseModel):
    """One screen that runs."""

    instance: str
    deployment: str
    title: str
    user: str
    box: str
    picture: str = Field(description="Where its box gives what it shows now, as a small PNG.")
    expires_at: float = Field(description="Unix time after which that address opens nothing.")


def list_screens(
    context: MasterContext,
    user: User,
    *,
    everybody: bool = False,
    group: str = "",
    deployment: str | None = None,
) -> list[Screen]:
    """Screens that run, the newest first, up to MOST_SCREENS; all of them or those of one deployment.

    Those on a silent box are left out.

    One's own, those of the members of a `group`, which are for its teachers and for administrators, or `everybody`'s,
    which are for operators: raises Forbidden, or NotFound for a group that is none to this person. Whoever's screen
    somebody else looks at is told.
    """
    if everybody and user.role == UserRole.USER.value:
        raise Forbidden(
            "Only operators see other people's screens.",
            field="everybody",
            remedy="Leave it out to see your own, or ask an operator.",
        )
    with context.database.read() as session:
        whose = _members(session, user, group) if group else None if everybody else [user.id]
        shown = _running(session, whose, deployment)
        running = [instance for instance in shown if _has_picture(instance)]
        fronts = _fronts(context.redis, {instance.box_id or "" for instance in running})
        found = [item for item in running[:MOST_SCREENS] if item.box_id in fronts]
        others = [item.id for item in found if item.deployment.user_id != user.id]
        screens = [_screen(context, item, fronts[item.box_id or ""], user) for item in found]
    _tell(context, user, others)
    return screens


def origins(screens: Iterable[Screen]) -> list[str]:
    """Where the pictures come from: what the policy of a page that shows them has to name."""
    return sorted({"{0.scheme}://{0.netloc}".format(urlsplit(screen.picture)) for screen in screens})


def _members(session: Session, user: User, name: str) -> list[str]:
    group = groups.find_group(session, user, name)
    if user.role == UserRole.USER.value and not groups.teaches(session, user, group):
        raise Forbidden(
            f"Only teachers of {name} see the screens of its members.",
            field="group",
            remedy="Leave it out to see your own.",
        )
    return list(session.scalars(groups.pupils(user, group)))


def _tell(context: MasterContext, viewer: User, instances: Sequence[str]) -> None:
    """Nobody is looked at without knowing it: a row on the deployment's page, once in TOLD_S for each viewer."""
    keys = [look_key(instance, viewer.id) for instance in instances]
    with context.redis.pipeline() as pipeline:
        for key in keys:
            pipeline.set(key, 1, nx=True, ex=TOLD_S)
        news = [instance for instance, is_new in zip(instances, pipeline.execute(), strict=True) if is_new]
    if not news:
        return
    with context.database.write() as session:
        for instance in session.scalars(select(Instance).where(Instance.id.in_(news))):
            with about(instance):
                detail = f"{viewer.name} looks at small pictures of this screen."
                add_row(session, context.redis, instance, "looked-at", detail=detail)


def _running(session: Session, whose: list[str] | None, deployment: str | None) -> list[Instance]:
    statement = (
        select(Instance)
        .join(Instance.deployment)
        .options(contains_eager(Instance.deployment), joinedload(Instance.deployment, Deployment.user))
        .where(Instance.state == InstanceState.RUNNING.value)
        .order_by(Deployment.created_at.desc(), Instance.id)
    )
    if whose is not None:
        statement = statement.where(Deployment.user_id.in_(whose))
    if deployment is not None:
        statement = statement.where(Deployment.id == deployment)
    return list(session.scalars(statement))


def _has_picture(instance: Instance) -> bool:
    services = Manifest.model_validate(instance.deployment.manifest).services
    return services[instance.service].access.has_picture


def _fronts(client: redis.Redis, boxes: set[str]) -> dict[str, Endpoint]:
    """Where the fronts of these boxes answer, without those that are silent or cannot be read; one question."""
    names = sorted(boxes)
    found: dict[str, Endpoint] = {}
    for name, text in zip(
        names, client.mget([status_key(name) for name in names]) if names else [], strict=True
    ):
        try:
            front = BoxStatus.read(text).front if text else None
        except ValidationError:
            continue
        if front is not None:
            found[name] = front
    return found


def _screen(context: MasterContext, instance: Instance, front: Endpoint, user: User) -> Screen:
    # All tickets of one while say the same, so that a browser's picture keeps its address.
    expires_at = (time.time() // TICKET_S + 2) * TICKET_S
    ticket = issue(
        context.signer,
        PictureTicket(
            expires_at=expires_at, instance=instance.id, generation=instance.generation, user=user.id
        ),
    )
    return Screen(
        instance=instance.id,
        deployment=instance.deployment_id,
        title=instance.deployment.title,
        user=instance.deployment.user.name,
        box=instance.box_id or "",
        picture=f"{front.url}{PATH}/{instance.id}?{urlencode({'ticket': ticket})}",
        expires_at=expires_at,
    )
