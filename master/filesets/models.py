"""Filesets: an application's data, a person's home, and where their copies lie."""

from __future__ import annotations

import time
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from master.db.base import Base, Id, Moment


class FilesetKind(StrEnum):
    """Who may use a fileset."""

    PUBLIC = "public"
    PERSONAL = "personal"
    HOME = "home"


class Fileset(Base):
    """A named tree of files."""

    __tablename__ = "filesets"
    __table_args__ = (UniqueConstraint("name", "owner_id", name="uq_filesets_name_owner"),)
    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    owner_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    version: Mapped[int] = mapped_column(default=0, doc="Grows with every put; 0: nothing was put yet.")
    offered_version: Mapped[int] = mapped_column(
        default=0, doc="The last version that a put was let begin; two puts at once never share one."
    )
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    size_limit_bytes: Mapped[int | None] = mapped_column(BigInteger)
    # One writer: read-write exports carry the fence under which this box may write.
    fence: Mapped[int] = mapped_column(default=0)
    writer_box_id: Mapped[str | None] = mapped_column(ForeignKey("boxes.id"))
    created_at: Mapped[Moment]
    removed_at: Mapped[float | None] = mapped_column(doc="Since when its copies are to go; its name is free.")
    copies: Mapped[list[FilesetCopy]] = relationship(back_populates="fileset", cascade="all, delete-orphan")


class FilesetCopy(Base):
    """A filestore that holds a fileset, and at which version."""

    __tablename__ = "fileset_copies"
    fileset_id: Mapped[Id] = mapped_column(ForeignKey("filesets.id", ondelete="CASCADE"), primary_key=True)
    box_id: Mapped[str] = mapped_column(ForeignKey("boxes.id"), primary_key=True)
    version: Mapped[int] = mapped_column(default=0, doc="What lies there whole; a home has only version 1.")
    wanted: Mapped[str] = mapped_column(String(16), default="held", doc="held or removed, as in its wish.")
    planned: Mapped[bool] = mapped_column(
        default=False, server_default="0", doc="Chosen to have enough copies, so it may be given up again."
    )
    asked_at: Mapped[float] = mapped_column(
        default=time.time, server_default="0", doc="When the box was last asked to fetch it."
    )
    follows: Mapped[bool] = mapped_column(
        default=False,
        server_default="0",
        doc="A copy of a home: it is brought up to date, and never mounted.",
    )
    copied_at: Mapped[float | None] = mapped_column(
        doc="As of when a copy of a home is; none: it never came."
    )
    settled: Mapped[bool] = mapped_column(
        default=True, server_default="1", doc="Nothing of the home changed while this copy was read."
    )
    fileset: Mapped[Fileset] = relationship(back_populates="copies")
