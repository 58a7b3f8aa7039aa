"""What operators decided about layers on boxes."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from master.db.base import Base, Id, Moment


class LayerOrder(Base):
    """Blobs that a box is to keep whatever their timers say (kept), or to drop now (evicted)."""

    __tablename__ = "layer_orders"
    digest: Mapped[str] = mapped_column(String(71), primary_key=True, doc="An image, or a single blob.")
    box_id: Mapped[str] = mapped_column(ForeignKey("boxes.id"), primary_key=True)
    wanted: Mapped[str] = mapped_column(String(16), doc="kept or evicted, as in its wish.")
    blobs: Mapped[list[str]]
    version: Mapped[int] = mapped_column(BigInteger, doc="Of the wish; grows with every change.")
    user_id: Mapped[Id | None] = mapped_column(ForeignKey("users.id"))
    at: Mapped[Moment]
