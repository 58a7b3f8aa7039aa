"""REST: screens that run now."""

from __future__ import annotations

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from master.accounts.guard import allows, current_user
from master.accounts.models import Scope
from master.screens.services import Screen, list_screens
from master.web.current import context
from master.web.paging import Page, reply_page

api = APIBlueprint(
    "screens_api",
    __name__,
    url_prefix="/api/v1/screens",
    abp_tags=[Tag(name="screens", description="What desktops show now, small.")],
)


class ScreensQuery(Page):
    """Whose."""

    everybody: bool = Field(False, description="Other people's too; for operators.")
    group: str = Field("", max_length=64, description="Of the members of this group; for its teachers.")


class ScreenList(BaseModel):
    """The newest first."""

    screens: list[Screen]


@api.get("", summary="List screens", responses={200: ScreenList})
@allows(Scope.READ, Scope.DEPLOY)
def list_(query: ScreensQuery) -> Response:
    """Each with an address of its box at which a picture of it is had for some minutes, without a token."""
    found = list_screens(context(), current_user(), everybody=query.everybody, group=query.group)
    part = list(query.cut(found))
    return reply_page(ScreenList(screens=part[: query.limit]), query, more=len(part) > query.limit)
