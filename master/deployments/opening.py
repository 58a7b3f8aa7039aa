"""Opening an instance in the browser: a one-time ticket and the address of the near gateway."""

from __future__ import annotations

import secrets
import time
from typing import Any
from urllib.parse import urlencode

import redis
from pydantic import ValidationError

from common.access import TERMINAL
from common.addresses import is_loopback
from common.errors import Conflict, NotFound, Unavailable
from common.names import status_key
from common.status import BoxStatus
from common.tickets import OpenTicket, issue
from common.words import Endpoint, InstanceState, SessionMode
from master.accounts.models import User
from master.catalogue.manifest import Manifest
from master.context import MasterContext
from master.deployments.models import Deployment, Instance

ENTER = "/_openraas/enter"


def open_url(
    context: MasterContext,
    deployment: Deployment,
    user: User,
    *,
    instance_id: str | None = None,
    way: str | None = None,
) -> str:
    """The address that lets this person, once, into the deployment's first service that has a page.

    `instance_id` chooses another of its instances, `way` another way of access than the instance's own, such as
    `terminal`. Raises NotFound for an instance that it has not, Conflict if nothing runs that could be opened,
    Unavailable if its box is silent.
    """
    instance = _running(deployment, instance_id) if instance_id else _pick(deployment)
    return _url(
        context,
        instance,
        user=user.id,
        name=user.name,
        session_until=_latest_end(deployment),
        also=frozenset({TERMINAL.way}),
        begin=way,
    )


def open_as_guest(
    context: MasterContext,
    deployment: Deployment,
    *,
    user: str,
    name: str,
    mode: SessionMode,
    share: str,
    until: float,
) -> str:
    """The same for somebody who was invited: into the application alone, as far as `mode` goes."""
    return _url(
        context,
        _pick(deployment),
        user=user,
        name=name,
        mode=mode,
        share=share,
        session_until=min(until, _latest_end(deployment)),
    )


def _latest_end(deployment: Deployment) -> float:
    """The box ends the instance with its lease; whoever extends that need not sign in anew."""
    return deployment.latest_end or deployment.lease_end


def _url(context: MasterContext, instance: Instance, **session: Any) -> str:
    front = front_of(context.redis, instance.box_id or "")
    now = time.time()
    ticket = issue(
        context.signer,
        OpenTicket(
            expires_at=now + context.settings.ticket_s,
            instance=instance.id,
            generation=instance.generation,
            once=secrets.token_urlsafe(16),
            **session,
        ),
    )
    host = host_name(instance, front, context.settings.applications_domain)
    address = Endpoint(host=host, port=front.port, tls=front.tls).url
    return f"{address}{ENTER}?{urlencode({'ticket': ticket})}"


def host_name(instance: Instance, front: Endpoint, domain: str) -> str:
    """The instance's own origin: `<instance>.<domain>` on this machine, else `<instance>.<box>.<domain>`."""
    if is_loopback(front.host):
        return f"{instance.id}.{domain}"
    return f"{instance.id}.{instance.box_id}.{domain}"


def _running(deployment: Deployment, instance_id: str) -> Instance:
    for instance in deployment.instances:
        if instance.id == instance_id:
            if instance.state == InstanceState.RUNNING.value and deployment.wanted == "running":
                return instance
            raise Conflict(f"{instance_id} is {instance.state}, not running.", remedy="Wait until it runs.")
    raise NotFound(f"{deployment.id} has no instance {instance_id}.", field="instance")


def _pick(deployment: Deployment) -> Instance:
    services = Manifest.model_validate(deployment.manifest).services
    able = [i for i in deployment.instances if services[i.service].access.has_page]
    if not able:
        raise Conflict(f"{deployment.title} has no page; it is a job.", remedy="Read its output instead.")
    for instance in able:
        if instance.state == InstanceState.RUNNING.value and deployment.wanted == "running":
            return instance
    raise Conflict(
        f"{deployment.title} is {able[0].state}, not running.", remedy="Wait until its page says running."
    )


def front_of(client: redis.Redis, box: str) -> Endpoint:
    """Where the front of a box answers. Raises Unavailable if the box is silent."""
    try:
        text = client.get(status_key(box))
    except redis.RedisError as error:
        raise Unavailable("Redis does not answer.", remedy="Try again in a moment.") from error
    try:
        front = BoxStatus.read(text).front if text else None
    except ValidationError as error:
        raise Unavailable(
            f"What the box {box} says of itself cannot be read.",
            remedy="Bring box and master to the same version.",
        ) from error
    if front is None:
        raise Unavailable(
            f"The box {box} is silent: nobody knows where its gateway answers.",
            remedy="Try again in a moment; a box that stays silent is replaced.",
        )
    return front
