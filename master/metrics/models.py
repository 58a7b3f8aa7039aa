"""Samples of boxes in SQL: one per five minutes for a week, one per hour for a month."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from master.db.base import Base, Id


class BoxSample(Base):
    """The mean of a box over `step_s` seconds from `at` on."""

    __tablename__ = "box_samples"
    __table_args__ = (Index("ix_box_samples_step_at", "step_s", "at"),)
    box_id: Mapped[Id] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"), primary_key=True)
    step_s: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    cpu: Mapped[float] = mapped_column(doc="Share of all cores that were busy, whoever used them.")
    memory_bytes: Mapped[float]
    disk_bytes: Mapped[float] = mapped_column(doc="Of the lent space.")
    in_bps: Mapped[float]
    out_bps: Mapped[float]
    temperature_c: Mapped[float | None] = mapped_column(doc="None: it has no sensor.")
    held_cpu: Mapped[float] = mapped_column(doc="Cores that instances held.")
    lent: Mapped[float] = mapped_column(doc="Share of the time in which it was up and took new instances.")
    up: Mapped[float] = mapped_column(doc="Share of the time in which it was up.")
