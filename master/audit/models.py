"""The audit log. Entries are added and never changed: the database itself refuses it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import DDL, String, event
from sqlalchemy.orm import Mapped, mapped_column

from master.db.base import Base, Moment


class AuditEntry(Base):
    """One change. Names stand beside ids, so that an entry says who it was when they are gone."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[Moment] = mapped_column(index=True)
    actor_id: Mapped[str | None] = mapped_column(String(64), index=True)
    actor: Mapped[str] = mapped_column(String(64), doc="Who; empty: the platform itself.")
    means: Mapped[str] = mapped_column(String(80), default="", doc="By a sign-in, or by which token.")
    address: Mapped[str] = mapped_column(String(64), default="")
    action: Mapped[str] = mapped_column(String(64), index=True, doc="As in `user.change`.")
    subject: Mapped[str] = mapped_column(String(200), index=True, doc="As in `user:ada`.")
    before: Mapped[dict[str, Any]] = mapped_column(default=dict, doc="What changed, as it was; no secrets.")
    after: Mapped[dict[str, Any]] = mapped_column(default=dict, doc="What changed, as it is; no secrets.")


_REFUSE_SQLITE = """
CREATE TRIGGER audit_{word} BEFORE {word} ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
"""
_REFUSE_POSTGRESQL = (
    """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$
""",
    "CREATE TRIGGER audit_refuse BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
)
# For each kind of database, what makes the table append-only; the migration runs the same.
APPEND_ONLY: dict[str, tuple[str, ...]] = {
    "sqlite": tuple(_REFUSE_SQLITE.format(word=word) for word in ("UPDATE", "DELETE")),
    "postgresql": _REFUSE_POSTGRESQL,
}

for _dialect, _statements in APPEND_ONLY.items():
    for _statement in _statements:
        _refuse = DDL(_statement).execute_if(dialect=_dialect)  # type: ignore[no-untyped-call]
        event.listen(AuditEntry.__table__, "after_create", _refuse)
