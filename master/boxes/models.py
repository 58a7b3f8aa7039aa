"""Boxes that have joined, and the one-time secrets with which they do."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from master.db.base import Base, Id, Moment


class Box(Base):
    """A machine that has joined. What it is now stands in its status record in Redis."""

    __tablename__ = "boxes"
    id: Mapped[Id] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    roles: Mapped[list[str]]
    open: Mapped[bool] = mapped_column(Boolean)
    fixed: Mapped[bool] = mapped_column(Boolean)
    address: Mapped[str] = mapped_column(String(255))
    owner_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    seal_key: Mapped[str] = mapped_column(String(100))
    certificate: Mapped[str] = mapped_column(Text)
    joined_at: Mapped[Moment]
    lost_at: Mapped[float | None] = mapped_column(
        doc="Since when it is silent beyond the limit; none: it is not."
    )
    cordoned: Mapped[bool] = mapped_column(Boolean, default=False, doc="Takes no new placements.")
    redis_password_hash: Mapped[str] = mapped_column(
        String(64), default="", doc="sha256, with which its Redis user is made again if Redis was wiped."
    )
    removed_at: Mapped[float | None] = mapped_column(doc="Kept for history only since then.")


class JoinSecret(Base):
    """The hash of a one-time join secret."""

    __tablename__ = "join_secrets"
    secret_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_by: Mapped[Id | None] = mapped_column(ForeignKey("users.id"))
    expires_at: Mapped[float]
    used_by_box: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[Moment]
