"""Links by which people let others use a file or a folder of their home."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from master.accounts.models import User
from master.db.base import Base, Id, Moment


class ShareKind(StrEnum):
    """What a link lets do."""

    READ = "read"
    ADD = "add"


class FileShare(Base):
    """A link. Only the hash of its secret half is kept, so that reading the table opens nothing."""

    __tablename__ = "file_shares"
    id: Mapped[Id] = mapped_column(primary_key=True)
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    path: Mapped[str] = mapped_column(Text, doc="Percent-encoded, below the home's top.")
    may: Mapped[str] = mapped_column(String(8), doc="read, or add: put files into the folder and see none.")
    expires_at: Mapped[float]
    created_at: Mapped[Moment]
    user: Mapped[User] = relationship()
