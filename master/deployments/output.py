"""What instances print, fetched from their boxes for the people they run for.

Neither the command line nor a browser has to reach a box by name, so the master passes the stream on.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy.orm import Session

from common.errors import BadInput, Conflict, NotFound, OpenRaaSError, Unavailable
from common.hangup import HangUp, keep_alive
from common.tickets import LogsTicket, issue
from common.tls import connect_box
from common.words import Endpoint, InstanceState
from master.accounts.models import User
from master.context import MasterContext
from master.deployments.models import Deployment, Instance
from master.deployments.opening import front_of
from master.deployments.services import find_deployment

PATH = "/_openraas/logs"
PIECE_BYTES = 64 * 1024
# What the box's answer means for the person who asked the master.
_REFUSALS: dict[int, type[OpenRaaSError]] = {404: NotFound, 409: Conflict}


@dataclass(frozen=True)
class Source:
    """Where the output of an instance is, and the ticket that opens it."""

    instance: str
    box: str
    front: Endpoint
    ticket: str


def find_output(context: MasterContext, user: User, deployment_id: str, instance_id: str | None) -> Source:
    """Where an instance's output is; one's own, or for operators everybody's.

    `instance_id` may be left out where there is one instance. Raises NotFound, BadInput, Conflict while no box
    has the instance, Unavailable if the box is silent.
    """
    with context.database.read() as session:
        instance = _pick(session, user, deployment_id, instance_id)
        if instance.box_id is None and InstanceState(instance.state).is_over:
            raise NotFound(f"{instance.id} never had a container.", remedy="See what happened to it instead.")
        if instance.box_id is None:
            raise Conflict(
                f"{instance.id} has printed nothing yet; it is {instance.state}.",
                remedy="Wait until it runs.",
            )
        ticket = LogsTicket(
            expires_at=time.time() + context.settings.log_follow_s,
            instance=instance.id,
            generation=instance.generation,
            user=user.id,
        )
        front = front_of(context.redis, instance.box_id)
        return Source(instance.id, instance.box_id, front, issue(context.signer, ticket))


def _pick(session: Session, user: User, deployment_id: str, instance_id: str | None) -> Instance:
    deployment: Deployment = find_deployment(session, user, deployment_id)
    instances = {instance.id: instance for instance in deployment.instances}
    if instance_id is None and len(instances) == 1:
        return deployment.instances[0]
    if instance_id is None:
        named = ", ".join(f"{item.id} ({item.service})" for item in deployment.instances)
        raise BadInput(f"{deployment_id} has several instances: name one of {named}.", field="instance")
    if instance_id not in instances:
        raise NotFound(
            f"{deployment_id} has no instance {instance_id}.",
            field="instance",
            remedy=f"See openraas show {deployment_id}.",
        )
    return instances[instance_id]


class BoxOutput:
    """The answer of a box, on its way. Close it."""

    def __init__(self, context: MasterContext, source: Source, *, lines: int, follow: bool) -> None:
        """Ask the box; raises NotFound, Conflict or Unavailable with what it says."""
        self._source = source
        self._limit_s = context.settings.log_follow_s
        self._answer: http.client.HTTPResponse | None = None
        self._connection = connect_box(
            source.front,
            source.box,
            authorities=context.paths.trusted,
            timeout_s=context.settings.log_timeout_s,
        )
        try:
            self._connection.connect()
            self._socket: socket.socket = self._connection.sock
            keep_alive(self._socket)  # a box that vanishes while it is silent is noticed
            self._answer = self._ask(lines, follow=follow)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable(
                f"The box {source.box} does not answer: {error or type(error).__name__}.",
                remedy="Try again in a moment; a box that stays silent is replaced.",
            ) from error
        except OpenRaaSError:
            self.close()
            raise
        if follow:
            self._socket.settimeout(None)  # HangUp ends it

    def _ask(self, lines: int, *, follow: bool) -> http.client.HTTPResponse:
        query = urlencode({"tail": lines, "follow": int(follow)})
        headers = {"Authorization": f"Bearer {self._source.ticket}"}
        self._connection.request("GET", f"{PATH}/{self._source.instance}?{query}", headers=headers)
        answer = self._connection.getresponse()
        if answer.status != http.client.OK:
            raise refusal(self._source.box, answer.status, answer.read(PIECE_BYTES))
        return answer

    def pieces(self, listener: socket.socket | None) -> Iterator[bytes]:
        """The output as it comes, until it ends, `listener` hangs up or the ticket's time is over.

        Raises ConnectionError when the box breaks off.
        """
        with HangUp(self._socket, listener, limit_s=self._limit_s) as hangup:
            try:
                while self._answer is not None and (piece := self._answer.read1(PIECE_BYTES)):
                    yield piece
            except (OSError, http.client.HTTPException) as error:
                if not hangup.happened:
                    raise ConnectionError(f"The box {self._source.box} broke off: {error}.") from error

    def close(self) -> None:
        """Let go of the box."""
        if self._answer is not None:
            self._answer.close()
        self._connection.close()


def refusal(box: str, status: int, body: bytes) -> OpenRaaSError:
    """What a box's answer means for the person who asked the master."""
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = f"it answers with status {status}"
    if status in _REFUSALS:
        return _REFUSALS[status](message)
    return Unavailable(f"The box {box} does not tell: {message}")
