"""The page of what is made ready before people come: the timetable, and what waits at all times."""

from __future__ import annotations

import time

from flask import Blueprint, flash, redirect, render_template, request, url_for
from pydantic import ValidationError
from sqlalchemy import select
from werkzeug.wrappers import Response

from common.errors import OpenRaaSError
from master.accounts.guard import current_user, requires
from master.accounts.models import UserRole
from master.catalogue.manifest import Manifest
from master.catalogue.models import Application
from master.prewarming import services as prewarming
from master.prewarming.suitable import NotSuitable, suited
from master.timetable import services
from master.timetable.api import EntryBody, add_entry, view_of
from master.timetable.times import WEEKDAYS
from master.web.current import context

views = Blueprint("timetable", __name__)


def _suited(applications: list[Application]) -> list[Application]:
    found = []
    for entry in applications:
        try:
            suited(Manifest.model_validate(entry.manifest))
        except NotSuitable:
            continue
        found.append(entry)
    return found


@views.get("/timetable")
@requires(UserRole.OPERATOR)
def timetable() -> str:
    """When many people will come, and what waits for them."""
    with context().database.read() as session:
        rows = services.list_entries(session, time.time())
        entries = [view_of(entry, next_at) for entry, next_at in rows]
        prewarmed = prewarming.list_prewarmed(session, context().redis)
        everything = list(session.scalars(select(Application).order_by(Application.title)))
        applications = [(entry.name, entry.title) for entry in _suited(everything)]
    return render_template(
        "timetable.html",
        entries=entries,
        prewarmed=prewarmed,
        applications=applications,
        weekdays=WEEKDAYS,
        zone=context().settings.time_zone,
        now=time.time(),
    )


@views.post("/timetable")
@requires(UserRole.OPERATOR)
def add() -> Response:
    """A new entry, as the form says."""
    given = {name: value for name, value in request.form.items() if name in EntryBody.model_fields and value}
    try:
        add_entry(EntryBody.model_validate(given))
    except ValidationError as error:
        flash(f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}.")
    except OpenRaaSError as error:
        flash(str(error))
    return redirect(url_for("timetable.timetable"), 303)


@views.post("/timetable/<entry>/remove")
@requires(UserRole.OPERATOR)
def remove(entry: str) -> Response:
    """Take it out."""
    try:
        with context().database.write() as session:
            services.remove(session, entry)
    except OpenRaaSError as error:
        flash(str(error))
    return redirect(url_for("timetable.timetable"), 303)


@views.post("/timetable/prewarmed")
@requires(UserRole.OPERATOR)
def order() -> Response:
    """How many of an application are to wait at all times."""
    count = request.form.get("count", 0, type=int)
    try:
        with context().database.write() as session:
            name = request.form.get("application", "")
            prewarming.order(session, current_user(), name, min(max(0, count), 200))
    except OpenRaaSError as error:
        flash(str(error))
    return redirect(url_for("timetable.timetable"), 303)
