"""Invitations into a person's running application."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from master.accounts.models import User
from master.db.base import Base, Id, Moment
from master.deployments.models import Deployment


class Share(Base):
    """One invitation. Only the hash of its link is kept; none: somebody joined by right, and the owner sees it."""

    __tablename__ = "shares"
    id: Mapped[Id] = mapped_column(primary_key=True)
    deployment_id: Mapped[Id] = mapped_column(ForeignKey("deployments.id"), index=True)
    token_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    mode: Mapped[str] = mapped_column(String(16), doc="control or watch")
    needs_account: Mapped[bool] = mapped_column(default=False)
    label: Mapped[str] = mapped_column(String(120), default="")
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id"), doc="Who made it.")
    uses: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[Moment]
    expires_at: Mapped[float]
    ended_at: Mapped[float | None]
    deployment: Mapped[Deployment] = relationship()
    user: Mapped[User] = relationship()

    def is_open(self, now: float) -> bool:
        """Whether one may still come by it."""
        return self.ended_at is None and now < self.expires_at
