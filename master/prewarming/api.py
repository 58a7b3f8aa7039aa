"""REST: prewarmed instances."""

from __future__ import annotations

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from master.accounts.guard import allows, current_user, requires
from master.accounts.models import Scope, UserRole
from master.prewarming import services
from master.web.current import context, reply
from master.web.paging import Page, reply_page

MOST = 200

api = APIBlueprint(
    "prewarming_api",
    __name__,
    url_prefix="/api/v1/prewarmed",
    abp_tags=[Tag(name="prewarmed", description="Instances that wait for whoever comes first.")],
)


class BoxPoolView(BaseModel):
    """What one box keeps ready."""

    box: str
    wanted: int
    ready: int = Field(description="How many wait now.")


class PrewarmedView(BaseModel):
    """One application."""

    application: str
    title: str
    wanted: int = Field(description="How many are to wait at all times.")
    is_ordered: bool = Field(description="An operator said so; else the manifest did.")
    ready: int
    boxes: list[BoxPoolView]


class PrewarmedList(BaseModel):
    """Applications of which something is wanted or waits, by name."""

    prewarmed: list[PrewarmedView]


class PrewarmPath(BaseModel):
    """An application by name."""

    application: str = Field(max_length=64)


class PrewarmBody(BaseModel):
    """How many are to wait."""

    count: int = Field(ge=0, le=MOST)


def _views() -> list[PrewarmedView]:
    with context().database.read() as session:
        found = services.list_prewarmed(session, context().redis)
    return [
        PrewarmedView(
            application=item.application,
            title=item.title,
            wanted=item.wanted,
            is_ordered=item.is_ordered,
            ready=item.ready,
            boxes=[BoxPoolView(box=pool.box, wanted=pool.wanted, ready=pool.ready) for pool in item.boxes],
        )
        for item in found
    ]


@api.get("", summary="List prewarmed instances", responses={200: PrewarmedList})
@allows(Scope.READ, Scope.FLEET)
def list_prewarmed(query: Page) -> Response:
    """What waits where."""
    views = list(query.cut(_views()))
    return reply_page(PrewarmedList(prewarmed=views[: query.limit]), query, more=len(views) > query.limit)


@api.put("/<application>", summary="Keep instances ready", responses={200: PrewarmedList})
@requires(UserRole.OPERATOR)
@allows(Scope.FLEET)
def order(path: PrewarmPath, body: PrewarmBody) -> Response:
    """So many at all times, whatever the manifest says. Boxes make them while nothing else is being started."""
    with context().database.write() as session:
        services.order(session, current_user(), path.application, body.count)
    return reply(PrewarmedList(prewarmed=_views()))


@api.delete("/<application>", summary="Let the manifest's number count", responses={200: PrewarmedList})
@requires(UserRole.OPERATOR)
@allows(Scope.FLEET)
def withdraw(path: PrewarmPath) -> Response:
    """Repeating it does no harm."""
    with context().database.write() as session:
        services.withdraw(session, path.application)
    return reply(PrewarmedList(prewarmed=_views()))
