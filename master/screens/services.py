"""Which screens a person may look at, and the tickets by which a browser gets small pictures from their boxes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from urllib.parse import urlencode, urlsplit

import redis
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session, contains_eager, joinedload

from common.errors import Forbidden
from common.names import status_key
from common.status import BoxStatus
from common.tickets import PictureTicket, issue
from common.words import Endpoint, InstanceState
from master.accounts.models import User, UserRole
from master.catalogue.manifest import Manifest
from master.context import MasterContext
from master.deployments.models import Deployment, Instance

PATH = "/_openraas/pictures"
# A page that is left open asks for new ones; who may look no more sees nothing after so long.
TICKET_S = 300.0
MOST_SCREENS = 200


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
    context: MasterContext, user: User, *, everybody: bool = False, deployment: str | None = None
) -> list[Screen]:
    """Screens that run, the newest first, up to MOST_SCREENS; all of them or those of one deployment.

    Those on a silent box are left out.

    Raises Forbidden if somebody who is no operator asks for `everybody`'s.
    """
    if everybody and user.role == UserRole.USER.value:
        raise Forbidden(
            "Only operators see other people's screens.",
            field="everybody",
            remedy="Leave it out to see your own, or ask an operator.",
        )
    with context.database.read() as session:
        running = _running(session, user, everybody=everybody, deployment=deployment)
        found = [instance for instance in running if _has_picture(instance)]
        fronts = _fronts(context.redis, {instance.box_id or "" for instance in found})
        return [
            _screen(context, instance, fronts[instance.box_id or ""], user)
            for instance in found[:MOST_SCREENS]
            if instance.box_id in fronts
        ]


def origins(screens: Iterable[Screen]) -> list[str]:
    """Where the pictures come from: what the policy of a page that shows them has to name."""
    return sorted({"{0.scheme}://{0.netloc}".format(urlsplit(screen.picture)) for screen in screens})


def _running(session: Session, user: User, *, everybody: bool, deployment: str | None) -> list[Instance]:
    statement = (
        select(Instance)
        .join(Instance.deployment)
        .options(contains_eager(Instance.deployment), joinedload(Instance.deployment, Deployment.user))
        .where(Instance.state == InstanceState.RUNNING.value)
        .order_by(Deployment.created_at.desc(), Instance.id)
    )
    if not everybody:
        statement = statement.where(Deployment.user_id == user.id)
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
