"""Where fronts may be measured: at the addresses under which the boxes joined.

A status is a box's own word. Without this check it could send browsers and other boxes to a third party.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.addresses import is_loopback
from common.status import BoxStatus
from common.words import Endpoint
from master.boxes.models import Box


def measurable_fronts(session: Session, known: Mapping[str, BoxStatus]) -> dict[str, Endpoint]:
    """The fronts of boxes that are up, by box: each at its own address, and off loopback with TLS."""
    rows = session.execute(select(Box.id, Box.address).where(Box.removed_at.is_(None)))
    addresses = {row.id: row.address for row in rows}
    return {
        box: front
        for box, status in sorted(known.items())
        if (front := status.front) is not None
        and front.host.strip("[]").lower() == addresses.get(box)
        and (front.tls or is_loopback(front.host))
    }
