"""Entries of the timetable."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from master.catalogue.models import Application
from master.db.base import Base, Id, Moment


class TimetableEntry(Base):
    """So many people will start an application at a time: once, or every week."""

    __tablename__ = "timetable"
    id: Mapped[Id] = mapped_column(primary_key=True)
    application_id: Mapped[Id] = mapped_column(ForeignKey("applications.id", ondelete="CASCADE"))
    count: Mapped[int]
    day: Mapped[str] = mapped_column(String(10), doc="A weekday (mon, tue, …) or a date (2026-12-01).")
    time: Mapped[str] = mapped_column(String(5), doc="08:00")
    zone: Mapped[str] = mapped_column(String(64), doc="As in the IANA time zone database.")
    by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[Moment]
    application: Mapped[Application] = relationship(lazy="joined")
