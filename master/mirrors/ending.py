"""How mirrors end by an operator's word."""

from __future__ import annotations

from common.words import Role
from master.context import MasterContext
from master.db.session import after_commit
from master.lifecycle.wishes import WishWriter
from master.mirrors import services


def end_or_forget(context: MasterContext, mirror_id: str) -> str:
    """Let the depository fetch no more of it; one that is over is forgotten, and its image stays.

    Returns what was done, for people. Raises NotFound.
    """
    with context.database.write() as session:
        mirror = services.find_mirror(session, mirror_id)
        source = mirror.source
        if mirror.state != services.FETCHING:
            session.delete(mirror)
            return f"{source} is no longer listed."
        services.end_mirror(session, mirror, services.FAILED, "It was stopped.")
        box, subject = mirror.box_id, services.mirror_subject(mirror)
        after_commit(session, lambda: WishWriter(context).drop(box, Role.DEPOSITORY, subject))
    return f"{source} is not fetched any more."
