"""REST: shares of a deployment, and who is there."""

from __future__ import annotations

import time

from flask import Response, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from common.words import DeploymentId, SessionMode
from master.accounts.guard import allows, current_user
from master.accounts.models import Scope
from master.sharing import services
from master.sharing.people import people_in
from master.sharing.presentation import NewShareView, PersonView, ShareView, describe
from master.web.current import context, nothing, reply
from master.web.paging import Page, reply_page

api = APIBlueprint(
    "sharing_api",
    __name__,
    url_prefix="/api/v1/deployments",
    abp_tags=[Tag(name="sharing", description="Letting others into a running application.")],
)


class DeploymentPath(BaseModel):
    """A deployment by id."""

    id: DeploymentId


class SharePath(DeploymentPath):
    """A share of a deployment."""

    share: str = Field(max_length=40)


class NewShare(BaseModel):
    """An invitation."""

    mode: SessionMode = Field(SessionMode.WATCH, description="watch: no input of the guest counts.")
    lasts_s: float = Field(services.USUAL_S, ge=services.SHORTEST_S, le=services.LONGEST_S)
    needs_account: bool = Field(False, description="Only people with an account here may use it.")
    label: str = Field("", max_length=120, description="For yourself: whom it is for.")


class Joining(BaseModel):
    """How to come in."""

    mode: SessionMode = SessionMode.WATCH


class ShareList(BaseModel):
    """All shares of a deployment, the newest first."""

    shares: list[ShareView]


class PeopleList(BaseModel):
    """Who is there now."""

    people: list[PersonView]


class EnterAnswer(BaseModel):
    """An address that lets in once, within a minute."""

    url: str


@api.get("/<id>/shares", summary="List its shares", responses={200: ShareList})
@allows(Scope.READ, Scope.DEPLOY)
def list_shares(path: DeploymentPath, query: Page) -> Response:
    """Also those that have ended."""
    with context().database.read() as session:
        found = query.cut(services.list_shares(session, current_user(), path.id))
        views = [describe(share, time.time()) for share in found]
    return reply_page(ShareList(shares=views[: query.limit]), query, more=len(views) > query.limit)


@api.post("/<id>/shares", summary="Invite by link", responses={201: NewShareView})
@allows(Scope.DEPLOY)
def create(path: DeploymentPath, body: NewShare) -> Response:
    """The link is in this answer and nowhere else."""
    share, token = services.create_share(
        context(),
        current_user(),
        path.id,
        mode=body.mode,
        lasts_s=body.lasts_s,
        needs_account=body.needs_account,
        label=body.label,
    )
    url = url_for("sharing.invitation", secret=token, _external=True)
    return reply(NewShareView(**describe(share, time.time()).model_dump(), url=url), 201)


@api.delete("/<id>/shares/<share>", summary="End a share", responses={204: None})
@allows(Scope.DEPLOY)
def end(path: SharePath) -> Response:
    """Whoever came by it is cut off within seconds."""
    services.end_share(context(), current_user(), path.id, path.share)
    return nothing()


@api.get("/<id>/people", summary="Who is there", responses={200: PeopleList})
@allows(Scope.READ, Scope.DEPLOY)
def people(path: DeploymentPath) -> Response:
    """As its boxes have it now; 503 while one is silent."""
    return reply(PeopleList(people=people_in(context(), current_user(), path.id)))


@api.post("/<id>/join", summary="Join by right", responses={200: EnterAnswer})
@allows(Scope.DEPLOY)
def join(path: DeploymentPath, body: Joining) -> Response:
    """For those who may without an invitation; the owner sees it."""
    return reply(EnterAnswer(url=services.join_by_right(context(), current_user(), path.id, body.mode)))
