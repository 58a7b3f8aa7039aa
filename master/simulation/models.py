"""Simulations that people let run on the master, and what came out of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from master.accounts.models import User
from master.db.base import Base, Id, Moment


class Simulation(Base):
    """A scenario that was, is or will be run with some policies and seeds."""

    __tablename__ = "simulations"
    id: Mapped[Id] = mapped_column(primary_key=True)
    user_id: Mapped[Id | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    name: Mapped[str] = mapped_column(String(64), doc="The scenario's.")
    title: Mapped[str] = mapped_column(String(200), default="")
    scenario: Mapped[str] = mapped_column(Text, deferred=True, doc="Its YAML, as it was sent.")
    trace: Mapped[str | None] = mapped_column(Text, deferred=True, doc="The trace that it replays.")
    settings: Mapped[list[str]] = mapped_column(doc="What was changed of it: `key.of.it=value`.")
    policies: Mapped[list[str]]
    seeds: Mapped[int]
    first_seed: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(16), index=True, doc="See services.State.")
    error: Mapped[str | None] = mapped_column(String(2000))
    tries: Mapped[int] = mapped_column(default=0, doc="How often it was begun.")
    done_steps: Mapped[int] = mapped_column(default=0)
    steps: Mapped[int] = mapped_column(default=0, doc="0: not known yet.")
    created_at: Mapped[Moment]
    began_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    summary: Mapped[dict[str, Any]] = mapped_column(
        default=dict, doc="See summaries.Summary; empty: none yet."
    )
    user: Mapped[User | None] = relationship()


class SimulationFile(Base):
    """A file that a simulation left: plots, the report, all figures."""

    __tablename__ = "simulation_files"
    simulation_id: Mapped[Id] = mapped_column(
        ForeignKey("simulations.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int]
    content: Mapped[bytes] = mapped_column(LargeBinary)
