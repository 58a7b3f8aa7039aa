"""REST: screens that run now."""

from __future__ import annotations

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from master.accounts.guard import current_user
from master.screens.services import Screen, list_screens
from master.web.current import context, reply

api = APIBlueprint(
    "screens_api",
    __name__,
    url_prefix="/api/v1/screens",
    abp_tags=[Tag(name="screens", description="What desktops show now, small.")],
)


class ScreensQuery(BaseModel):
    """Whose."""

    everybody: bool = Field(False, description="Other people's too; for operators.")


class ScreenList(BaseModel):
    """The newest first."""

    screens: list[Screen]


@api.get("", summary="List screens", responses={200: ScreenList})
def list_(query: ScreensQuery) -> Response:
    """Each with an address of its box at which a picture of it is had for some minutes, without a token."""
    return reply(ScreenList(screens=list_screens(context(), current_user(), everybody=query.everybody)))
