"""REST: the timetable."""

from __future__ import annotations

import time

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from common.errors import BadInput
from master.accounts.guard import allows, current_user, requires
from master.accounts.models import Scope, UserRole
from master.timetable import services
from master.timetable.models import TimetableEntry
from master.timetable.times import MOST_PEOPLE, make_when, read_entry
from master.web.current import context, nothing, reply
from master.web.paging import Page, reply_page

api = APIBlueprint(
    "timetable_api",
    __name__,
    url_prefix="/api/v1/timetable",
    abp_tags=[Tag(name="timetable", description="When many people will come.")],
)


class EntryBody(BaseModel):
    """`entry` says it all in one line; else the parts do."""

    entry: str | None = Field(
        None, max_length=120, description='"Mon 08:00 notebook x30" or "2026-12-01 08:00 notebook x30".'
    )
    application: str | None = Field(None, max_length=64)
    day: str | None = Field(None, max_length=10, description="A weekday or a date.")
    time: str | None = Field(None, max_length=5)
    count: int = Field(1, ge=1, le=MOST_PEOPLE, description="How many people.")
    zone: str | None = Field(None, max_length=64, description="Default: the setting time_zone.")


class EntryView(BaseModel):
    """An entry."""

    id: str
    application: str
    count: int
    day: str = Field(description="A weekday (mon, tue, …), then it comes every week, or a date.")
    time: str
    zone: str
    by: str
    next_at: float | None = Field(description="Unix time; none: it is over.")


class EntryList(BaseModel):
    """The next first."""

    entries: list[EntryView]


class EntryPath(BaseModel):
    """An entry by id."""

    id: str = Field(max_length=64)


def view_of(entry: TimetableEntry, next_at: float | None) -> EntryView:
    """As REST and pages show it."""
    return EntryView(
        id=entry.id,
        application=entry.application.name,
        count=entry.count,
        day=entry.day,
        time=entry.time,
        zone=entry.zone,
        by=entry.by,
        next_at=next_at,
    )


def add_entry(body: EntryBody) -> EntryView:
    """Take a new entry in; raises BadInput, NotFound or NotSuitable."""
    zone = body.zone or context().settings.time_zone
    if body.entry is not None:
        when, application, count = read_entry(body.entry, zone)
    elif body.application and body.day and body.time:
        when, application, count = make_when(body.day, body.time, zone), body.application, body.count
    else:
        raise BadInput("Give an entry, or application, day and time.", field="entry")
    now = time.time()
    with context().database.write() as session:
        made = services.add(session, current_user(), application, when, count, now=now)
        return view_of(made, when.around(now, stay_s=0.0))


@api.get("", summary="List the timetable", responses={200: EntryList})
@requires(UserRole.OPERATOR)
@allows(Scope.READ, Scope.FLEET)
def list_entries(query: Page) -> Response:
    """With when each comes next."""
    with context().database.read() as session:
        rows = query.cut(services.list_entries(session, time.time()))
        views = [view_of(entry, next_at) for entry, next_at in rows]
    return reply_page(EntryList(entries=views[: query.limit]), query, more=len(views) > query.limit)


@api.post("", summary="Add to the timetable", responses={201: EntryView})
@requires(UserRole.OPERATOR)
@allows(Scope.FLEET)
def add(body: EntryBody) -> Response:
    """Before that time layers are fetched and instances made ready where people will be placed."""
    return reply(add_entry(body), 201)


@api.delete("/<id>", summary="Remove from the timetable", responses={204: None})
@requires(UserRole.OPERATOR)
@allows(Scope.FLEET)
def remove(path: EntryPath) -> Response:
    """What was made ready for it goes soon."""
    with context().database.write() as session:
        services.remove(session, path.id)
    return nothing()
