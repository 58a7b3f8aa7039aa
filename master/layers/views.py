"""The page of layers: who holds what, until when, and whether there are enough copies."""

from __future__ import annotations

from dataclasses import dataclass, field

import redis
from flask import Blueprint, render_template, request
from flask_babel import gettext

from common.signing import Verifier
from common.status import BoxStatus
from common.transfers import BoxTransfers
from common.words import Role
from master.boxes.services import statuses
from master.filesets.services import HomeCopy, home_copies
from master.layers import services
from master.layers import transfers as told
from master.layers.services import LayerRow
from master.web.current import context

views = Blueprint("layers", __name__)

OTHERS = ""
IMAGES_PER_PAGE = 25
# An image has a few dozen layers; of what belongs to none there may be thousands.
ROWS_PER_IMAGE = 130


@dataclass
class Group:
    """The layers of one image."""

    name: str
    rows: list[LayerRow] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Of one copy."""
        return sum(row.size_bytes or 0 for row in self.rows)

    @property
    def copies(self) -> int:
        """How many boxes hold the layer that fewest hold."""
        return min((len(row.holders) for row in self.rows), default=0)


@views.get("/layers")
def layers() -> str:
    """All layers, image by image, then the copies of homes."""
    master, problem = context(), ""
    rows: list[LayerRow] = []
    alerts: list[BoxStatus] = []
    able = 0
    with master.database.read() as session:
        try:
            rows = services.list_layers(session, master.redis, Verifier(master.signer.public_key))
            known = statuses(master.redis).values()
            alerts = [status for status in known if status.alert]
            able = sum(Role.DEPOSITORY in status.roles for status in known)
        except redis.RedisError:
            problem = gettext("Redis does not answer, so nobody knows what the boxes hold.")
        homes: list[HomeCopy] = home_copies(session)
    groups = _groups(rows)
    pages = max(1, -(-len(groups) // IMAGES_PER_PAGE))
    page = min(pages, max(1, request.args.get("page", 1, type=int)))
    return render_template(
        "layers.html",
        groups=groups[(page - 1) * IMAGES_PER_PAGE : page * IMAGES_PER_PAGE],
        page=page,
        pages=pages,
        most_rows=ROWS_PER_IMAGE,
        homes=homes,
        alerts=alerts,
        problem=problem,
        wanted=master.settings.copies,
        able=able,
    )


@views.get("/layers/transfers")
def transfers() -> str:
    """What is on its way to which box now, and from where."""
    problem = ""
    found: list[BoxTransfers] = []
    try:
        found = told.running(context().redis)
    except redis.RedisError:
        problem = gettext("Redis does not answer, so nobody knows what is on its way.")
    return render_template("transfers.html", boxes=found, problem=problem)


def _groups(rows: list[LayerRow]) -> list[Group]:
    """A layer that several images share stands with each of them."""
    groups: dict[str, Group] = {}
    for row in rows:
        for name in dict.fromkeys(row.images) or [OTHERS]:
            groups.setdefault(name, Group(name)).rows.append(row)
    return sorted(groups.values(), key=lambda group: (group.name == OTHERS, group.name))
