"""Who is in a deployment's sessions now: asked of the boxes, which alone know."""

from __future__ import annotations

import http.client
import json
import time

from pydantic import TypeAdapter, ValidationError

from common.errors import Unavailable
from common.tickets import PeopleTicket, issue
from common.tls import connect_box
from common.words import Endpoint, InstanceState
from master.accounts.models import User
from master.context import MasterContext
from master.deployments.models import Deployment
from master.deployments.opening import front_of
from master.deployments.services import find_deployment
from master.sharing.presentation import PersonView

PATH = "/_openraas/people"
MOST_BYTES = 256 * 1024
_PEOPLE: TypeAdapter[list[PersonView]] = TypeAdapter(list[PersonView])


def people_in(context: MasterContext, user: User, deployment_id: str) -> list[PersonView]:
    """Everybody in the sessions of a deployment's running instances. Raises NotFound, Unavailable."""
    with context.database.read() as session:
        deployment: Deployment = find_deployment(session, user, deployment_id)
        asked = [
            (instance.id, instance.generation, instance.box_id)
            for instance in deployment.instances
            if instance.state == InstanceState.RUNNING.value and instance.box_id is not None
        ]
    found: list[PersonView] = []
    for instance, generation, box in asked:
        ticket = PeopleTicket(
            expires_at=time.time() + context.settings.ticket_s,
            instance=instance,
            generation=generation,
            user=user.id,
        )
        front = front_of(context.redis, box)
        found += _ask(context, box, front, instance, issue(context.signer, ticket))
    return found


def _ask(context: MasterContext, box: str, front: Endpoint, instance: str, ticket: str) -> list[PersonView]:
    connection = connect_box(
        front, box, authorities=context.paths.trusted, timeout_s=context.settings.log_timeout_s
    )
    try:
        connection.request("GET", f"{PATH}/{instance}", headers={"Authorization": f"Bearer {ticket}"})
        answer = connection.getresponse()
        body = answer.read(MOST_BYTES)
        if answer.status != http.client.OK:
            raise Unavailable(f"The box {box} does not tell who is there (status {answer.status}).")
        return _PEOPLE.validate_python(
            [{**person, "instance": instance} for person in json.loads(body)["people"]]
        )
    except (OSError, http.client.HTTPException, ValueError, KeyError, ValidationError) as error:
        raise Unavailable(
            f"The box {box} does not tell who is there: {error}.", remedy="Try again."
        ) from error
    finally:
        connection.close()
