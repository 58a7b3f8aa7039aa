"""Images that are, or were, fetched from registries elsewhere."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from master.db.base import Base, Id, Moment


class Mirror(Base):
    """An image of a registry elsewhere that a depository fetches (or fetched) for this site."""

    __tablename__ = "mirrors"
    id: Mapped[Id] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(String(400), doc="Registry, repository and tag or digest.")
    repository: Mapped[str] = mapped_column(String(128))
    tag: Mapped[str] = mapped_column(String(128))
    architectures: Mapped[list[str]] = mapped_column(doc="Which of its images; empty: all.")
    box_id: Mapped[str] = mapped_column(ForeignKey("boxes.id"))
    user_id: Mapped[Id | None] = mapped_column(ForeignKey("users.id"))
    sealed: Mapped[str | None] = mapped_column(
        String(2000), doc="Name and password there, which only the box can read; gone when it is over."
    )
    ca: Mapped[str | None] = mapped_column(
        Text, doc="Certificates (PEM) by which the registry there is trusted besides the usual ones."
    )
    state: Mapped[str] = mapped_column(String(16), index=True, doc="fetching, done or failed.")
    error: Mapped[str | None] = mapped_column(String(1000))
    digest: Mapped[str | None] = mapped_column(String(71), doc="What was fetched.")
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    done_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[Moment]
    changed_at: Mapped[Moment]
