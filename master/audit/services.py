"""Writing and reading the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from master.audit.actors import current_actor
from master.audit.models import AuditEntry

# What is named like this never reaches the log, whoever hands it in.
_SECRETS = ("password", "secret", "token", "hash", "key", "cookie")
HIDDEN = "(hidden)"


def record(
    session: Session,
    action: str,
    subject: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write a change down in its own transaction: it is in the log if, and only if, it was made.

    `action` is as in `user.change`, `subject` as in `user:ada`. Of `before` and `after` only what differs is
    kept; values of keys that sound like a secret are hidden.
    """
    was, now = dict(before or {}), dict(after or {})
    same = [key for key in was if key in now and was[key] == now[key]]
    actor = current_actor()
    actor.recorded += 1
    session.add(
        AuditEntry(
            actor_id=actor.id,
            actor=actor.name,
            means=actor.means,
            address=actor.address[:64],
            action=action[:64],
            subject=subject[:200],
            before=_shown(was, same),
            after=_shown(now, same),
        )
    )


def _shown(values: dict[str, Any], without: list[str]) -> dict[str, Any]:
    return {
        key: HIDDEN if value and any(word in key.lower() for word in _SECRETS) else value
        for key, value in values.items()
        if key not in without
    }


@dataclass(frozen=True)
class Filter:
    """Which entries; what is empty does not narrow."""

    actor: str = ""
    # The whole action, or its first part: `user` finds `user.add` and `user.change`.
    action: str = ""
    subject: str = ""
    since: float | None = None
    until: float | None = None


def list_entries(session: Session, wanted: Filter, *, limit: int, offset: int = 0) -> list[AuditEntry]:
    """Entries, the newest first."""
    statement = select(AuditEntry).order_by(AuditEntry.id.desc())
    if wanted.actor:
        statement = statement.where(AuditEntry.actor == wanted.actor)
    if wanted.action:
        is_part = AuditEntry.action.startswith(f"{wanted.action}.", autoescape=True)
        statement = statement.where(is_part | (AuditEntry.action == wanted.action))
    if wanted.subject:
        statement = statement.where(AuditEntry.subject.contains(wanted.subject, autoescape=True))
    if wanted.since is not None:
        statement = statement.where(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(AuditEntry.at < wanted.until)
    return list(session.scalars(statement.limit(limit).offset(offset)))
