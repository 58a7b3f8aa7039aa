"""Applications in the catalogue."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from master.accounts.models import User
from master.db.base import Base, Id, Moment


class Application(Base):
    """A catalogue entry: its manifest as it was published."""

    __tablename__ = "applications"
    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(120))
    description: Mapped[str] = mapped_column(String(2000), default="")
    manifest: Mapped[dict[str, Any]]
    published_by: Mapped[Id | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[Moment]
    publisher: Mapped[User | None] = relationship(lazy="joined")
