"""Images, tags, who holds what, and the chunk lists of blobs."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from master.accounts.models import User
from master.db.base import Base, Id, Moment


class Image(Base):
    """What a tag names, by the digest of its manifest: an image for one platform, or an index of several."""

    __tablename__ = "images"
    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    media_type: Mapped[str] = mapped_column(String(120))
    architecture: Mapped[str] = mapped_column(String(32), doc="Empty for an index.")
    size_bytes: Mapped[int] = mapped_column(BigInteger, doc="All blobs, as on the wire.")
    # [{"digest", "size_bytes", "media_type"}]: manifest first, then config, then layers in order. Of an index:
    # the index first, then all that is held of its images.
    blobs: Mapped[list[Any]]
    created_at: Mapped[Moment]


class ImageVariant(Base):
    """An image that an index names and that is held with it, in the order of the index."""

    __tablename__ = "image_variants"
    index_digest: Mapped[str] = mapped_column(
        ForeignKey("images.digest", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey("images.digest"), index=True)


class ImageReferrer(Base):
    """A manifest that refers to an image by its `subject`, perhaps by way of another such, and what it names."""

    __tablename__ = "image_referrers"
    subject_digest: Mapped[str] = mapped_column(
        ForeignKey("images.digest", ondelete="CASCADE"), primary_key=True
    )
    digest: Mapped[str] = mapped_column(String(71), primary_key=True, index=True)
    blobs: Mapped[list[Any]] = mapped_column(doc="As those of an image: the manifest first.")
    at: Mapped[Moment]


class Tag(Base):
    """A name of an image. Only the master's tags count: no box can choose the image."""

    __tablename__ = "tags"
    repository: Mapped[str] = mapped_column(String(128), primary_key=True)
    tag: Mapped[str] = mapped_column(String(128), primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey("images.digest"))
    owner_id: Mapped[Id | None] = mapped_column(ForeignKey("users.id"), doc="Who pushed it first.")
    changed_at: Mapped[Moment]
    owner: Mapped[User | None] = relationship(lazy="joined")


class ImageHolding(Base):
    """A depository that is meant to hold an image; `Held` reports make `held_at`."""

    __tablename__ = "image_holdings"
    digest: Mapped[str] = mapped_column(ForeignKey("images.digest", ondelete="CASCADE"), primary_key=True)
    box_id: Mapped[str] = mapped_column(ForeignKey("boxes.id"), primary_key=True)
    held_at: Mapped[float | None]
    wanted: Mapped[str] = mapped_column(String(16), default="held", doc="held or removed, as in its wish.")
    version: Mapped[int] = mapped_column(BigInteger, default=0, doc="Of the wish that the box got.")
    planned: Mapped[bool] = mapped_column(
        default=False, server_default="0", doc="Chosen to have enough copies, so it may be given up again."
    )
    asked_at: Mapped[float] = mapped_column(
        default=time.time, server_default="0", doc="When the box was last asked to fetch it."
    )


class BlobChunks(Base):
    """The chunk list of a blob. It is handed out once a box other than its maker has computed the same."""

    __tablename__ = "blob_chunks"
    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    chunk_bytes: Mapped[int]
    chunks: Mapped[list[str]]
    made_by: Mapped[str] = mapped_column(String(64))
    confirmed_by: Mapped[str | None] = mapped_column(String(64))
