"""Opening an instance in the browser: a one-time ticket and the address of the near gateway."""

from __future__ import annotations

import secrets
import time
from urllib.parse import urlencode

import redis
from pydantic import ValidationError

from common.addresses import is_loopback
from common.errors import Conflict, Unavailable
from common.names import status_key
from common.status import BoxStatus
from common.tickets import OpenTicket, issue
from common.words import Endpoint, InstanceState
from master.accounts.models import User
from master.catalogue.manifest import Manifest
from master.context import MasterContext
from master.deployments.models import Deployment, Instance

ENTER = "/_openraas/enter"


def open_url(context: MasterContext, deployment: Deployment, user: User) -> str:
    """The address that lets this person, once, into the deployment's first service that has a page.

    Raises Conflict if nothing runs that could be opened, Unavailable if its box is silent.
    """
    instance = _pick(deployment)
    front = front_of(context.redis, instance.box_id or "")
    now = time.time()
    ticket = issue(
        context.signer,
        OpenTicket(
            expires_at=now + context.settings.ticket_s,
            instance=instance.id,
            generation=instance.generation,
            user=user.id,
            once=secrets.token_urlsafe(16),
            # The box ends the instance with its lease; whoever extends that need not sign in anew.
            session_until=deployment.latest_end or deployment.lease_end,
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
