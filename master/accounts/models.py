"""People, their sessions and their API tokens."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from master.db.base import Base, Id, Moment


class UserRole(StrEnum):
    """What a person may do."""

    USER = "user"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


class User(Base):
    """A person."""

    __tablename__ = "users"
    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(16), default=UserRole.USER.value)
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Moment]


class WebSession(Base):
    """A sign-in; only the hash of its cookie is kept, so that reading the table lets nobody in."""

    __tablename__ = "web_sessions"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[float]
    created_at: Mapped[Moment]
    user: Mapped[User] = relationship()


class ApiToken(Base):
    """A token for programs and the command line; only its hash is kept."""

    __tablename__ = "api_tokens"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[float | None]
    created_at: Mapped[Moment]
    user: Mapped[User] = relationship()
