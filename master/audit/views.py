"""Page: the audit log."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, render_template, request

from master.accounts.guard import current_user, requires
from master.accounts.models import UserRole
from master.audit import services
from master.audit.api import entry_view
from master.web.current import context

views = Blueprint("audit", __name__)

PER_PAGE = 50
MAXIMUM_PAGE = 10**6
FIELDS = ("actor", "action", "subject", "since", "until")


def _day(text: str, zone: ZoneInfo, *, after: int = 0) -> float | None:
    """When a day begins that was written as in 2026-11-20; what is no day does not narrow."""
    try:
        day = datetime.date.fromisoformat(text) + datetime.timedelta(days=after)
        return datetime.datetime.combine(day, datetime.time(), zone).timestamp()
    except (ValueError, OverflowError):
        return None


@views.get("/audit")
@requires(UserRole.ADMINISTRATOR)
def audit() -> str:
    """Who changed what, the newest first."""
    zone = ZoneInfo(current_user().time_zone or "UTC")
    given = {name: request.args.get(name, "")[:200].strip() for name in FIELDS}
    wanted = services.Filter(
        given["actor"],
        given["action"],
        given["subject"],
        _day(given["since"], zone),
        _day(given["until"], zone, after=1),
    )
    page = min(max(1, request.args.get("page", 1, type=int)), MAXIMUM_PAGE)
    with context().database.read() as session:
        found = services.list_entries(session, wanted, limit=PER_PAGE + 1, offset=(page - 1) * PER_PAGE)
        entries = [entry_view(item) for item in found[:PER_PAGE]]
    rows = [(item, _time(item.at, zone)) for item in entries]
    return render_template(
        "audit.html", rows=rows, given=given, page=page, has_more=len(found) > PER_PAGE, zone=zone.key
    )


def _time(at: float, zone: ZoneInfo) -> str:
    return datetime.datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S")
