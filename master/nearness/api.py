"""REST: which boxes to measure before something is started."""

from __future__ import annotations

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from common.words import Endpoint
from master.accounts.guard import allows, current_user
from master.accounts.models import Scope
from master.nearness.people import MOST_CANDIDATES, candidates
from master.web.current import context, reply

api = APIBlueprint(
    "nearness_api",
    __name__,
    url_prefix="/api/v1/nearness",
    abp_tags=[Tag(name="nearness", description="How far people are from boxes.")],
)


class CandidateView(BaseModel):
    """A box to measure: connect to its front, or ask it for `/_openraas/ping`."""

    box: str
    front: Endpoint
    url: str


class CandidateList(BaseModel):
    """Boxes spread over the map."""

    candidates: list[CandidateView] = Field(max_length=MOST_CANDIDATES)


@api.get("/candidates", summary="Boxes to measure", responses={200: CandidateList})
@allows(Scope.READ, Scope.DEPLOY)
def list_candidates() -> Response:
    """Up to three boxes; send the shortest round trip to each as `round_trips_ms` with the request to start."""
    found = candidates(context(), current_user(), request.remote_addr or "")
    views = [CandidateView(box=item.box, front=item.front, url=item.front.url) for item in found]
    return reply(CandidateList(candidates=views))
