"""People, groups, sign-ins, API tokens, and the identities that other providers vouch for."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from master.db.base import Base, Id, Moment


class UserRole(StrEnum):
    """What a person may do."""

    USER = "user"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


class UserState(StrEnum):
    """Whether a person may sign in."""

    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"


class GroupRole(StrEnum):
    """What a person is in a group."""

    MEMBER = "member"
    TEACHER = "teacher"


class Scope(StrEnum):
    """What an API token may be used for, within what its owner may do."""

    ALL = "all"
    READ = "read"
    DEPLOY = "deploy"
    FILES = "files"
    IMAGES = "images"
    FLEET = "fleet"
    ACCOUNT = "account"
    PEOPLE = "people"


class User(Base):
    """A person."""

    __tablename__ = "users"
    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    full_name: Mapped[str] = mapped_column(String(120), default="", server_default="")
    email: Mapped[str] = mapped_column(String(254), default="", server_default="")
    password_hash: Mapped[str | None] = mapped_column(
        String(200), doc="None: this person signs in with another provider only."
    )
    role: Mapped[str] = mapped_column(String(16), default=UserRole.USER.value)
    state: Mapped[str] = mapped_column(
        String(16), default=UserState.ACTIVE.value, server_default=UserState.ACTIVE.value, index=True
    )
    language: Mapped[str] = mapped_column(
        String(16), default="", server_default="", doc="Empty: the browser's."
    )
    time_zone: Mapped[str] = mapped_column(String(64), default="", server_default="", doc="Empty: UTC.")
    reason: Mapped[str] = mapped_column(
        String(500), default="", server_default="", doc="What was said when signing up."
    )
    created_at: Mapped[Moment]
    memberships: Mapped[list[Membership]] = relationship(
        back_populates="user", cascade="all, delete-orphan", order_by="Membership.group_id"
    )

    @property
    def active(self) -> bool:
        """Whether this person may sign in."""
        return self.state == UserState.ACTIVE.value


class Group(Base):
    """People who belong together: a class, a laboratory."""

    __tablename__ = "groups"
    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(120), default="")
    created_at: Mapped[Moment]
    members: Mapped[list[Membership]] = relationship(back_populates="group", cascade="all, delete-orphan")


class Membership(Base):
    """A person in a group."""

    __tablename__ = "memberships"
    group_id: Mapped[Id] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[Id] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(String(16), default=GroupRole.MEMBER.value)
    source: Mapped[str] = mapped_column(
        String(400), default="", doc="The provider whose claims say so; empty: somebody here added them."
    )
    created_at: Mapped[Moment]
    group: Mapped[Group] = relationship(back_populates="members")
    user: Mapped[User] = relationship(back_populates="memberships")


class Identity(Base):
    """A person as an OpenID provider knows them."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("user_id", "issuer"),)
    issuer: Mapped[str] = mapped_column(String(400), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[Moment]
    user: Mapped[User] = relationship()


class WebSession(Base):
    """A sign-in; only the hash of its cookie is kept, so that reading the table lets nobody in."""

    __tablename__ = "web_sessions"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[float]
    created_at: Mapped[Moment]
    seen_at: Mapped[float] = mapped_column(default=0.0, server_default="0", doc="Rounded to some minutes.")
    address: Mapped[str] = mapped_column(String(64), default="", server_default="")
    browser: Mapped[str] = mapped_column(String(200), default="", server_default="")
    user: Mapped[User] = relationship()


class ApiToken(Base):
    """A token for programs and the command line; only its hash is kept."""

    __tablename__ = "api_tokens"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]] = mapped_column(server_default='["all"]')
    expires_at: Mapped[float | None]
    created_at: Mapped[Moment]
    used_at: Mapped[float | None] = mapped_column(doc="Rounded to some minutes; none: never.")
    user: Mapped[User] = relationship()


class ResetLink(Base):
    """A link by which a person sets a password once; only the hash of its secret is kept."""

    __tablename__ = "reset_links"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[float]
    created_at: Mapped[Moment]
    user: Mapped[User] = relationship()
