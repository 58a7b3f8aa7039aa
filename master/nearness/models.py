"""What people measured last."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from master.db.base import Base, Id, Moment


class Sighting(Base):
    """The round trips that a person measured last from one network; where that is, the map of the day says."""

    __tablename__ = "sightings"
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    network: Mapped[str] = mapped_column(String(64), primary_key=True, index=True, doc="203.0.113.0/24, …/48")
    round_trips_ms: Mapped[dict[str, Any]] = mapped_column(doc="By box.")
    at: Mapped[Moment]
