"""Whether a browser's session may go on: what stands in the box's own tables, asked with every request."""

from __future__ import annotations

from workers.box.table import Table
from workers.compute.instances import InstanceRow, Instances, Stage
from workers.compute.shares import EndedShares
from workers.gateway.cookies import Session


class Standing:
    """Judges sessions."""

    def __init__(self, table: Table) -> None:
        self._instances = Instances(table)
        self._ended = EndedShares(table)

    def row(self, instance: str) -> InstanceRow | None:
        """The instance, if this box knows it."""
        return self._instances.get(instance)

    def refusal(self, session: Session, row: InstanceRow | None) -> str | None:
        """Why the session does not count for the instance (a key of REFUSALS), if so."""
        if row is None:
            return "unknown"
        if row.generation != session.generation:
            return "expired"
        if session.share is not None and self._ended.has(session.share):
            return "share-ended"
        return reason_against(row)


def reason_against(row: InstanceRow) -> str | None:
    """Why the instance cannot be opened now, if so."""
    if row.state in (Stage.PREPARING, Stage.STARTING):
        return "not-ready"
    return "gone" if row.state is not Stage.RUNNING else None
