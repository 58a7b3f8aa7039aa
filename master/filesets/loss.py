"""What becomes of homes whose filestore is gone for good: they are opened from their newest copy, behind a fence.

A filestore that is merely silent may still have a writer, so nothing happens while it is only lost. Its removal by
an operator is the word that it does not come back; it also takes away the box's access, so that no wish reaches it
again. From then on nothing that it held counts: its reports are refused, its mounts are over, what may still run
on a compute box that is itself lost is stopped when that returns, and the next writer gets a higher fence.
"""

from __future__ import annotations

import time

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from common.logs import get_logger
from common.words import InstanceState, MountMode
from master.deployments.models import Instance, Mount
from master.filesets.models import Fileset, FilesetCopy, FilesetKind

log = get_logger(__name__)


def homes_lost(session: Session, box: str) -> list[str]:
    """A filestore is removed: fence off what was written there; returns the homes that now open from a copy."""
    _end_mounts(session, box)
    lost = (
        select(FilesetCopy)
        .join(Fileset, Fileset.id == FilesetCopy.fileset_id)
        .where(
            FilesetCopy.box_id == box,
            FilesetCopy.follows.is_(False),
            Fileset.kind == FilesetKind.HOME.value,
            Fileset.removed_at.is_(None),
        )
    )
    opened = []
    for copy in list(session.scalars(lost)):
        home = copy.fileset
        home.fence += 1
        home.writer_box_id = None
        if (heir := _newest(home, box)) is not None:
            heir.follows, heir.planned, heir.version, heir.asked_at = False, False, home.version, time.time()
            opened.append(home.id)
            age_s = time.time() - (heir.copied_at or 0.0)
            log.warning(
                "home opens from its copy", fileset=home.id, lost=box, box=heir.box_id, age_s=round(age_s)
            )
    session.flush()
    return opened


def _newest(home: Fileset, box: str) -> FilesetCopy | None:
    copies = [
        copy for copy in home.copies if copy.follows and copy.copied_at is not None and copy.box_id != box
    ]
    return max(copies, key=lambda copy: (copy.copied_at or 0.0, copy.box_id), default=None)


def _end_mounts(session: Session, box: str) -> None:
    """Nobody confirms the end of a mount there any more."""
    writing = select(Mount.instance_id).where(
        Mount.box_id == box, Mount.mode == MountMode.READ_WRITE.value, Mount.state != "ended"
    )
    for instance in session.scalars(
        select(Instance).where(Instance.id.in_(writing), Instance.state == InstanceState.LOST.value)
    ):
        instance.deployment.wanted = "stopped"
        instance.wish_version += 1
    session.execute(update(Mount).where(Mount.box_id == box, Mount.state != "ended").values(state="ended"))
