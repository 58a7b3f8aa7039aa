"""Deployments, their instances, what is mounted, and the timeline."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from master.accounts.models import User
from master.db.base import Base, Id, Moment


class Deployment(Base):
    """One person's running copy of an application."""

    __tablename__ = "deployments"
    id: Mapped[Id] = mapped_column(primary_key=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id"), index=True)
    application_id: Mapped[str | None] = mapped_column(ForeignKey("applications.id", ondelete="SET NULL"))
    application_name: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(120))
    manifest: Mapped[dict[str, Any]] = mapped_column(doc="As it was when the person asked.")
    options: Mapped[dict[str, Any]] = mapped_column(doc="Without secret ones.")
    sealed_options: Mapped[dict[str, Any]] = mapped_column(
        default=dict, doc="Secret ones, sealed for the master."
    )
    near: Mapped[dict[str, Any] | None] = mapped_column(
        doc="Where the person was; `master.nearness.people.Near`."
    )
    wanted: Mapped[str] = mapped_column(String(16), default="running")
    lease_end: Mapped[float]
    lease_step_s: Mapped[float] = mapped_column(
        default=8 * 3600.0, server_default="28800", doc="By how much the lease is extended at one go."
    )
    lease_limit_s: Mapped[float] = mapped_column(
        default=24 * 3600.0, server_default="86400", doc="How long it may run with all that it is extended."
    )
    idle_stop_s: Mapped[float] = mapped_column(
        default=0.0, server_default="0", doc="Nobody used it for so long: it ends; 0: never."
    )
    begun_at: Mapped[float | None] = mapped_column(
        doc="When it first had a place: from then on the lease runs."
    )
    used_at: Mapped[float | None] = mapped_column(doc="When its boxes last saw somebody use it.")
    warned_for: Mapped[float | None] = mapped_column(doc="The end of the lease of which the person was told.")
    is_kept: Mapped[bool] = mapped_column(
        default=False, server_default=false(), doc="An operator keeps it: no lease, no idle stop."
    )
    priority: Mapped[str] = mapped_column(
        String(8), default="normal", server_default="normal", doc="Its class while it waits."
    )
    ended_shares: Mapped[list[str]] = mapped_column(
        default=list, server_default="[]", doc="Invitations that were ended: what its boxes have to know."
    )
    idempotency_key: Mapped[str | None] = mapped_column(String(80), index=True)
    created_at: Mapped[Moment]
    ended_at: Mapped[float | None]
    user: Mapped[User] = relationship()
    instances: Mapped[list[Instance]] = relationship(back_populates="deployment", order_by="Instance.ordinal")

    @property
    def has_begun(self) -> bool:
        """Whether any of its instances ever had a place: the lease does not run before."""
        return any(item.box_id is not None or item.generation > 1 for item in self.instances)

    def begin(self, now: float) -> None:
        """An instance gets its place: from the first one on the lease runs."""
        if not self.has_begun:
            self.lease_end = now + self.lease_s(now)
            self.begun_at = now

    @property
    def latest_end(self) -> float | None:
        """Until when its lease may be extended; none before it has begun."""
        if self.is_kept:
            return self.lease_end
        return None if self.begun_at is None else max(self.lease_end, self.begun_at + self.lease_limit_s)

    def lease_s(self, now: float) -> float:
        """How long it may run from now on. Until it has begun `lease_end` is counted from the request."""
        return max(0.0, self.lease_end - (now if self.has_begun else self.created_at))


class Instance(Base):
    """One container of a deployment on one box. A new generation is a new try, perhaps elsewhere."""

    __tablename__ = "instances"
    id: Mapped[Id] = mapped_column(primary_key=True)
    deployment_id: Mapped[Id] = mapped_column(ForeignKey("deployments.id"), index=True)
    service: Mapped[str] = mapped_column(String(64))
    ordinal: Mapped[int] = mapped_column(default=0)
    generation: Mapped[int] = mapped_column(default=1)
    state: Mapped[str] = mapped_column(String(16), index=True)
    state_at: Mapped[Moment]
    error: Mapped[str | None] = mapped_column(String(1000))
    exit_code: Mapped[int | None]
    # What it asks for, of its manifest and options; here too so that shares can be summed up.
    cpu: Mapped[float] = mapped_column(default=0.0, server_default="0")
    memory_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    disk_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    bandwidth_bps: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    gpu: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    image_digest: Mapped[str] = mapped_column(
        ForeignKey("images.digest"), doc="What the tag named: an image, or an index of several platforms."
    )
    variant_digest: Mapped[str | None] = mapped_column(
        ForeignKey("images.digest"), doc="The image for the box of this placement."
    )
    # The placement of this generation; none while requested or queued.
    box_id: Mapped[str | None] = mapped_column(ForeignKey("boxes.id"), index=True)
    depositories: Mapped[dict[str, Any]] = mapped_column(
        default=dict, doc="Blob digest → boxes that hold it."
    )
    reason: Mapped[str | None] = mapped_column(
        String(1000), doc="Why this box, or why it waits, in one sentence."
    )
    considered: Mapped[list[Any]] = mapped_column(default=list, doc="Boxes left out and why.")
    excluded: Mapped[list[str]] = mapped_column(default=list, doc="Boxes that refused this generation.")
    wish_version: Mapped[int] = mapped_column(default=0)
    deployment: Mapped[Deployment] = relationship(back_populates="instances")
    mounts: Mapped[list[Mount]] = relationship(back_populates="instance", cascade="all, delete-orphan")
    timeline: Mapped[list[TimelineRow]] = relationship(
        back_populates="instance", order_by="TimelineRow.at, TimelineRow.id"
    )


class Mount(Base):
    """One fileset mounted into one generation of an instance."""

    __tablename__ = "mounts"
    instance_id: Mapped[Id] = mapped_column(ForeignKey("instances.id"), primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True)
    target: Mapped[str] = mapped_column(String(255), primary_key=True)
    fileset_id: Mapped[Id] = mapped_column(ForeignKey("filesets.id"), index=True)
    fileset_version: Mapped[int]
    mode: Mapped[str] = mapped_column(String(2))
    box_id: Mapped[str] = mapped_column(ForeignKey("boxes.id"), index=True, doc="The filestore.")
    compute_box_id: Mapped[str] = mapped_column(String(64))
    fence: Mapped[int] = mapped_column(default=0)
    public_keys: Mapped[list[str]] = mapped_column(default=list)
    endpoint: Mapped[dict[str, Any] | None]
    host_key: Mapped[str | None] = mapped_column(String(400))
    state: Mapped[str] = mapped_column(
        String(16), default="waiting", doc="waiting, exporting, exported, ending, ended"
    )
    wish_version: Mapped[int] = mapped_column(default=0)
    instance: Mapped[Instance] = relationship(back_populates="mounts")


class TimelineRow(Base):
    """One step in the life of an instance: what the page shows and what history learns from."""

    __tablename__ = "timeline"
    __table_args__ = (Index("ix_timeline_instance", "instance_id", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    instance_id: Mapped[Id] = mapped_column(ForeignKey("instances.id"))
    generation: Mapped[int]
    at: Mapped[float]
    state: Mapped[str] = mapped_column(String(16), doc="The instance's state after this row.")
    step: Mapped[str] = mapped_column(String(32))
    box_id: Mapped[str | None] = mapped_column(String(64))
    took_s: Mapped[float | None]
    size_bytes: Mapped[int | None]
    sources: Mapped[dict[str, Any]] = mapped_column(default=dict)
    detail: Mapped[str] = mapped_column(String(1000), default="")
    reason: Mapped[str] = mapped_column(
        String(16),
        default="",
        server_default="",
        doc="Of what failed: why, as its box says (common/reports.py).",
    )
    instance: Mapped[Instance] = relationship(back_populates="timeline")
