"""REST: what is learnt from starts."""

from __future__ import annotations

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel

from master.accounts.guard import allows, requires
from master.accounts.models import Scope, UserRole
from master.history.accuracy import AccuracyRow, accuracy
from master.web.current import context, reply

api = APIBlueprint(
    "history_api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="history", description="What starts were expected to take, and what they took.")],
)


class Accuracy(BaseModel):
    """The error of predicted starts."""

    rows: list[AccuracyRow]


@api.get("/history/accuracy", summary="How far predictions of starts were off", responses={200: Accuracy})
@requires(UserRole.OPERATOR)
@allows(Scope.READ, Scope.FLEET)
def read_accuracy() -> Response:
    """Of the last thousand starts; the first row is all applications together."""
    with context().database.read() as session:
        return reply(Accuracy(rows=accuracy(session)))
