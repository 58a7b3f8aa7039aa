"""What operators want prewarmed, and what each box keeps ready."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from master.catalogue.models import Application
from master.db.base import Base, Id, Moment


class PrewarmOrder(Base):
    """How many instances of an application an operator wants ready, whatever its manifest says."""

    __tablename__ = "prewarm_orders"
    application_id: Mapped[Id] = mapped_column(
        ForeignKey("applications.id", ondelete="CASCADE"), primary_key=True
    )
    count: Mapped[int]
    by: Mapped[str] = mapped_column(String(64))
    changed_at: Mapped[Moment]


class WarmPool(Base):
    """What one box keeps ready of one application; the wish for the box is derived from it."""

    __tablename__ = "warm_pools"
    application_id: Mapped[Id] = mapped_column(
        ForeignKey("applications.id", ondelete="CASCADE"), primary_key=True
    )
    box_id: Mapped[str] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"), primary_key=True)
    share: Mapped[int] = mapped_column(doc="How many people are expected here.")
    count: Mapped[int] = mapped_column(doc="How many instances wait for them now.")
    version: Mapped[int] = mapped_column(BigInteger)
    likeness: Mapped[str] = mapped_column(String(32), doc="Differs when the application does.")
    image_digest: Mapped[str] = mapped_column(ForeignKey("images.digest", ondelete="CASCADE"))
    depositories: Mapped[dict[str, Any]] = mapped_column(doc="Blob digest → boxes that hold it.")
    application: Mapped[Application] = relationship(lazy="joined")
