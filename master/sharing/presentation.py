"""Shares as people and programs see them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from common.words import SessionMode
from master.sharing.models import Share


class ShareView(BaseModel):
    """An invitation; its link is told once, when it is made."""

    id: str
    mode: SessionMode
    needs_account: bool
    label: str
    by: str = Field(description="Who made it.")
    by_link: bool = Field(description="False: somebody joined by right, such as a teacher.")
    uses: int = Field(description="How often somebody came by it.")
    created_at: float
    expires_at: float
    ended_at: float | None
    open: bool


class NewShareView(ShareView):
    """An invitation that was just made."""

    url: str = Field(description="The link; it is not told again.")


class PersonView(BaseModel):
    """Somebody who is in the session now."""

    instance: str
    name: str
    mode: SessionMode
    share: str | None = Field(description="The invitation; none: the owner.")
    since: float


def describe(share: Share, now: float) -> ShareView:
    """One share."""
    return ShareView(
        id=share.id,
        mode=SessionMode(share.mode),
        needs_account=share.needs_account,
        label=share.label,
        by=share.user.name,
        by_link=share.token_hash is not None,
        uses=share.uses,
        created_at=share.created_at,
        expires_at=share.expires_at,
        ended_at=share.ended_at,
        open=share.is_open(now),
    )
