"""What the REST interface itself keeps: answers to calls that may be sent again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from master.db.base import Base, Id, Moment


class KeptAnswer(Base):
    """The answer to a person's call with an `Idempotency-Key`; sealed, for some answers hold a secret."""

    __tablename__ = "kept_answers"
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64), doc="sha256 of method, path and body.")
    created_at: Mapped[Moment] = mapped_column(index=True)
    status: Mapped[int | None] = mapped_column(doc="None: the call is still under way.")
    headers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    sealed_body: Mapped[str] = mapped_column(default="")
