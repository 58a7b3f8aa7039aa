"""The timetable: adding, listing and removing entries. The planner of prewarmed instances reads it."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.errors import BadInput, NotFound
from common.words import new_id
from master.accounts.models import User
from master.audit.services import record
from master.catalogue.manifest import Manifest
from master.catalogue.services import find_application
from master.prewarming.suitable import suited
from master.timetable.models import TimetableEntry
from master.timetable.times import When, check_count

MOST_ENTRIES = 500


def when_of(entry: TimetableEntry) -> When:
    """Its time."""
    return When(entry.day, entry.time, entry.zone)


def add(
    session: Session, user: User, application: str, when: When, count: int, *, now: float
) -> TimetableEntry:
    """A new entry. Raises NotFound, NotSuitable, BadInput for a time that is over."""
    entry = find_application(session, application)
    suited(Manifest.model_validate(entry.manifest))
    if when.around(now, stay_s=0.0) is None:
        raise BadInput(
            f"{when.day} {when.time} ({when.zone}) is over.", field="day", remedy="Name a later day."
        )
    if len(session.scalars(select(TimetableEntry.id)).all()) >= MOST_ENTRIES:
        raise BadInput(
            f"The timetable has {MOST_ENTRIES} entries already.", remedy="Remove some that are over."
        )
    made = TimetableEntry(
        id=new_id("t"),
        application_id=entry.id,
        count=check_count(count),
        day=when.day,
        time=when.time,
        zone=when.zone,
        by=user.name,
    )
    session.add(made)
    session.flush()
    session.refresh(made)
    record(session, "timetable.add", f"timetable:{made.id}", after=_shown(made))
    return made


def remove(session: Session, entry_id: str) -> None:
    """Take an entry out; what was made ready for it goes soon. Raises NotFound."""
    found = session.get(TimetableEntry, entry_id)
    if found is None:
        raise NotFound(
            f"The timetable has no entry {entry_id}.", field="id", remedy="See openraas schedule list."
        )
    record(session, "timetable.remove", f"timetable:{found.id}", before=_shown(found))
    session.delete(found)


def _shown(entry: TimetableEntry) -> dict[str, str | int]:
    when = f"{entry.day} {entry.time} {entry.zone}"
    return {"application": entry.application.name, "when": when, "count": entry.count}


def list_entries(session: Session, now: float) -> list[tuple[TimetableEntry, float | None]]:
    """All entries with when each comes next (none: it is over), the next first."""
    rows = [
        (entry, when_of(entry).around(now, stay_s=0.0)) for entry in session.scalars(select(TimetableEntry))
    ]
    return sorted(rows, key=lambda row: (row[1] is None, row[1] or 0.0, row[0].id))
