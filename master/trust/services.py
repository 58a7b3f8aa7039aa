"""Replacing the authority, and who has a certificate of which one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from sqlalchemy.orm import Session

from common.errors import Conflict
from common.logs import get_logger
from master.audit.services import record
from master.boxes.services import list_boxes
from master.paths import MasterPaths
from master.trust import authorities
from master.trust.authorities import Authorities

log = get_logger(__name__)

MOST_NAMED = 5


@dataclass(frozen=True)
class Holder:
    """A box and its certificate, as the master issued it last."""

    box: str
    is_of_successor: bool
    expires_at: float


def holders(session: Session, now_in_force: Authorities) -> list[Holder]:
    """Every box that has joined."""
    successor = now_in_force.successor
    found = []
    for box in list_boxes(session):
        certificate = x509.load_pem_x509_certificate(box.certificate.encode())
        renewed = successor is not None and successor.has_signed(box.certificate)
        found.append(Holder(box.id, renewed, certificate.not_valid_after_utc.timestamp()))
    return found


def rotate(session: Session, paths: MasterPaths) -> Authorities:
    """Make a successor; raises Conflict while there is one."""
    after = authorities.rotate(paths)
    assert after.successor is not None  # noqa: S101 - it was just made
    record(session, "authority.rotate", "authority", after={"fingerprint": after.successor.fingerprint})
    return after


def retire(session: Session, paths: MasterPaths, *, force: bool) -> Authorities:
    """Let the successor take over; raises Conflict while a box lacks a certificate of it, unless forced."""
    now_in_force = Authorities.load(paths)
    behind = [item.box for item in holders(session, now_in_force) if not item.is_of_successor]
    if now_in_force.successor is not None and behind and not force:
        raise Conflict(
            f"{_named(behind)} no certificate of the new authority yet.",
            field="force",
            remedy="Wait until the boxes were up for a minute; with --force they have to join anew.",
        )
    after = authorities.retire(paths)
    record(
        session,
        "authority.retire",
        "authority",
        before={"fingerprint": now_in_force.in_office.fingerprint},
        after={"fingerprint": after.in_office.fingerprint, "left_behind": behind},
    )
    log.info("authority retired", fingerprint=after.in_office.fingerprint, left_behind=behind)
    return after


def _named(boxes: Sequence[str]) -> str:
    if len(boxes) == 1:
        return f"The box {boxes[0]} has"
    more = f" and {len(boxes) - MOST_NAMED} more" if len(boxes) > MOST_NAMED else ""
    return f"The boxes {', '.join(boxes[:MOST_NAMED])}{more} have"
