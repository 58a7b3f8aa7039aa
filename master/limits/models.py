"""Limits: one row for everybody, and one for each group and person of whom something else is said."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from master.db.base import Base


class LimitKind(StrEnum):
    """Of whom a limit speaks, from the most specific to the least, and last the one of a whole group."""

    PERSON = "person"
    MEMBERS = "members"
    EVERYBODY = "everybody"
    GROUP = "group"


class Limit(Base):
    """What may be used at once; None: this row says nothing of it.

    `person`, `members` (each member of a group) and `everybody` (each person) bound what one person uses: for
    each amount the most specific row that speaks of it counts, and of several groups the strictest. `group`
    bounds, beside those, what all members of a group use together.
    """

    __tablename__ = "limits"
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject_id: Mapped[str] = mapped_column(
        String(64), primary_key=True, doc="The user's or the group's id; empty for everybody."
    )
    deployments: Mapped[int | None]
    cpu: Mapped[float | None]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    disk_bytes: Mapped[int | None] = mapped_column(BigInteger)
    gpu: Mapped[int | None] = mapped_column(BigInteger)
    lease_s: Mapped[float | None] = mapped_column(
        doc="How long one deployment may run without being asked for anew."
    )
