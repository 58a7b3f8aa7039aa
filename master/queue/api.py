"""REST: the queue."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag

from master.accounts.guard import allows, current_user
from master.accounts.models import Scope
from master.queue.services import QueueAnswer, read_queue
from master.web.current import context, reply

api = APIBlueprint(
    "queue_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="queue", description="Who waits for room, and until when.")],
)


@api.get("/queue", summary="Who waits for room, in order", responses={200: QueueAnswer})
@allows(Scope.READ, Scope.DEPLOY)
def read() -> Response:
    """Everybody who waits; who others are is told to operators only."""
    with context().database.read() as session:
        return reply(read_queue(session, context().redis, current_user()))
