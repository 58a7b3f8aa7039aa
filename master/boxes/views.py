"""Pages of boxes: all of them, one with its past, and how one's own machine joins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import redis
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from common.addresses import is_loopback
from common.names import layers_key
from common.status import BoxStatus
from common.vivaldi import Position
from master.accounts.guard import current_user
from master.accounts.models import User, UserRole
from master.boxes import services
from master.boxes.draining import drain
from master.boxes.models import Box
from master.boxes.standing import accusers
from master.boxes.table import SORTS, STATES, BoxCard, Wanted, choose
from master.filesets.models import Fileset, FilesetCopy
from master.metrics import services as metrics
from master.metrics.api import may_see
from master.metrics.charts import Chart, chart
from master.nearness.map import read_map
from master.trust.authorities import Authorities
from master.web.current import context

views = Blueprint("boxes", __name__)

RANGES = {"1h": 3600.0, "1d": 86400.0, "7d": 7 * 86400.0, "31d": 31 * 86400.0}
MOST_SHOWN = 50


def _percent(used: float, whole: float) -> int:
    return round(100 * min(1.0, used / whole)) if whole else 0


def _said() -> tuple[dict[str, BoxStatus], Mapping[str, Position], str]:
    """What boxes say of themselves, where they are, and what is wrong if nobody can know."""
    try:
        return services.statuses(context().redis), read_map(context().redis).places, ""
    except redis.RedisError:
        return {}, {}, _("Redis does not answer, so nobody knows how the boxes are.")


@views.get("/boxes")
def boxes() -> str:
    """The boxes that have joined, as they were asked for."""
    user = current_user()
    statuses, places, problem = _said()
    with context().database.read() as session:
        names = {identity: name for identity, name in session.execute(select(User.id, User.name))}  # noqa: C416
        cards = [
            BoxCard(box, statuses.get(box.id), places.get(box.id), names.get(box.owner_id or ""))
            for box in services.list_boxes(session)
        ]
    wanted = _wanted()
    labels = sorted(
        {f"{name}={value}" for card in cards if card.status for name, value in card.status.labels.items()}
    )
    return render_template(
        "boxes.html",
        page=choose(cards, wanted, user.id),
        has_any=bool(cards),
        wanted=wanted,
        labels=labels[:MOST_SHOWN],
        states=STATES,
        problem=problem,
        percent=_percent,
        link=lambda **changes: _link(replace(wanted, **changes)),
        may_add=context().settings.people_add_boxes or user.role != UserRole.USER,
    )


def _wanted() -> Wanted:
    asked = request.args
    sort = asked.get("sort", "name")
    return Wanted(
        text=asked.get("q", "").strip()[:100],
        role=asked.get("role", ""),
        state=asked.get("state", ""),
        label=asked.get("label", ""),
        own=asked.get("own") == "1",
        sort=sort if sort in SORTS else "name",
        descending=asked.get("down") == "1",
        page=asked.get("page", 1, type=int),
    )


def _link(wanted: Wanted) -> str:
    return url_for(
        "boxes.boxes",
        q=wanted.text or None,
        role=wanted.role or None,
        state=wanted.state or None,
        label=wanted.label or None,
        own="1" if wanted.own else None,
        sort=wanted.sort if wanted.sort != "name" else None,
        down="1" if wanted.descending else None,
        page=wanted.page if wanted.page > 1 else None,
    )


@views.get("/boxes/<box>")
def show(box: str) -> str:
    """One box: how it is, how it was, what it holds, what runs there, what it gave."""
    user = current_user()
    statuses, places, problem = _said()
    length = request.args.get("range", "1h")
    length = length if length in RANGES else "1h"
    with context().database.read() as session:
        found = services.find(session, box)
        owner = session.get(User, found.owner_id) if found.owner_id else None
        card = BoxCard(found, statuses.get(box), places.get(box), owner.name if owner else None)
        is_seen = may_see(user, found)
        values: dict[str, Any] = {
            "runs": metrics.runs(session, box) if is_seen else [],
            "given": metrics.given(session, box) if is_seen else None,
            "holds": _filesets(session, box) if is_seen else None,
            "charts": [] if problem else _charts(session, card, RANGES[length]),
        }
    return render_template(
        "box.html",
        card=card,
        **values,
        layers=0 if problem else context().redis.scard(layers_key(box)),
        accused_by=[] if problem else accusers(context().redis, box),
        may_change=found.owner_id == user.id or user.role != UserRole.USER,
        is_seen=is_seen,
        ranges=RANGES,
        length=length,
        problem=problem,
        percent=_percent,
    )


def _charts(session: Session, card: BoxCard, length_s: float) -> list[Chart]:
    series = metrics.series(session, context().redis, card.box.id, length_s)
    if not series.samples:
        return []
    machine = card.status.machine if card.status else None
    lent = card.status.disk.lent_bytes if card.status else None
    cores = card.status.capacity.cpu if card.status else 0.0
    made = [
        chart(
            _("Processor"),
            "share",
            series,
            {
                _("busy"): lambda item: item.cpu,
                _("held"): lambda item: item.held_cpu / cores if cores else 0.0,
            },
            top=1.0,
        ),
        chart(
            _("Memory"),
            "size",
            series,
            {_("used"): lambda item: item.memory_bytes},
            top=machine.memory_total_bytes if machine else None,
        ),
        chart(_("Lent disk"), "size", series, {_("used"): lambda item: item.disk_bytes}, top=lent),
        chart(
            _("Network"),
            "rate",
            series,
            {_("in"): lambda item: item.in_bps, _("out"): lambda item: item.out_bps},
        ),
    ]
    if any(item.temperature_c is not None for item in series.samples):
        made.append(
            chart(_("Temperature"), "warmth", series, {_("hottest"): lambda item: item.temperature_c}, top=90)
        )
    return made


def _filesets(session: Session, box: str) -> dict[str, int]:
    """How many filesets of each kind lie on the box."""
    rows = session.execute(
        select(Fileset.kind, func.count())
        .join(FilesetCopy, FilesetCopy.fileset_id == Fileset.id)
        .where(FilesetCopy.box_id == box, Fileset.removed_at.is_(None))
        .group_by(Fileset.kind)
    )
    return {str(kind): int(count) for kind, count in rows}


@views.post("/boxes/<box>/lend")
def lend(box: str) -> Response:
    """Switch sharing: take new instances, take none, or give the machine back at once."""
    wish = request.form.get("wish", "")
    with context().database.write() as session:
        found = services.find(session, box)
        services.check_may_change(current_user(), found)
        if wish == "drain":
            moved = drain(session, context(), found)
            flash(
                ngettext(
                    "%(num)d instance begins again elsewhere.",
                    "%(num)d instances begin again elsewhere.",
                    moved,
                )
            )
        else:
            services.cordon(session, context().redis, found, wish != "open")
            flash(_("It takes new instances.") if wish == "open" else _("It takes no new instances."))
    return redirect(url_for("boxes.show", box=box), 303)


@views.get("/boxes/add")
def add() -> str:
    """How a machine joins."""
    services.check_may_add(context().settings, current_user())
    return render_template("box_add.html", command="", own=_own())


@views.post("/boxes/add")
def make_token() -> str:
    """The command that lets one machine join, shown once."""
    master, user = context(), current_user()
    services.check_may_add(master.settings, user)
    with master.database.write() as session:
        token = services.make_token(
            session, Authorities.load(master.paths).in_office, user, master.settings.join_token_s
        )
    address = request.host_url.rstrip("/")
    return render_template(
        "box_add.html",
        command=f"openraas box join {address} {token}",
        ttl_s=master.settings.join_token_s,
        only_here=is_loopback(request.host.rsplit(":", 1)[0].strip("[]")),
        own=_own(),
    )


def _own() -> list[Box]:
    user = current_user()
    with context().database.read() as session:
        return [box for box in services.list_boxes(session) if box.owner_id == user.id]
