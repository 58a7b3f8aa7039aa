"""The page of boxes: what each lends, and how busy it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import redis
from flask import Blueprint, render_template
from flask_babel import gettext

from common.status import BoxStatus
from common.vivaldi import Position
from master.boxes import services
from master.boxes.models import Box
from master.nearness.map import read_map
from master.web.current import context

views = Blueprint("boxes", __name__)


@dataclass(frozen=True)
class BoxCard:
    """A box with what it says of itself and where it is believed to be; no status: it is silent."""

    box: Box
    status: BoxStatus | None
    believed: Position | None

    @property
    def place(self) -> str:
        """How well its place in network space is known."""
        if self.status is None or (self.believed is None and self.status.coordinate_error is not None):
            return str(gettext("not confirmed yet"))
        if self.status.coordinate_error is None:
            return str(gettext("typed in"))
        return f"±{100 * self.status.coordinate_error:.0f} %"

    @property
    def state(self) -> str:
        """One word for the pill."""
        if self.status is None:
            return "silent"
        if self.box.cordoned:
            return "cordoned"
        if self.status.alert:
            return "full"
        return "open" if self.status.open else "closed"


def _percent(used: float, whole: float) -> int:
    return round(100 * min(1.0, used / whole)) if whole else 0


@views.get("/boxes")
def boxes() -> str:
    """All boxes that have joined, those that are up first."""
    problem = ""
    statuses: dict[str, BoxStatus] = {}
    places: Mapping[str, Position] = {}
    try:
        statuses, places = services.statuses(context().redis), read_map(context().redis).places
    except redis.RedisError:
        problem = gettext("Redis does not answer, so nobody knows how the boxes are.")
    with context().database.read() as session:
        cards = [
            BoxCard(box, statuses.get(box.id), places.get(box.id)) for box in services.list_boxes(session)
        ]
    cards.sort(key=lambda card: (card.status is None, card.box.id))
    return render_template("boxes.html", cards=cards, problem=problem, percent=_percent)
