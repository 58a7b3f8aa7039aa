"""Times of the timetable: once or every week, by the clock of a place. Pure."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from common.errors import BadInput

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_PEOPLE = 1000
_ENTRY = re.compile(
    r"(?P<day>[A-Za-z]{3,9}|\d{4}-\d{2}-\d{2})\s+(?P<time>\d{1,2}:\d{2})\s+(?P<application>[a-z0-9-]+)"
    r"(?:\s+x\s?(?P<count>\d{1,4}))?"
)
REMEDY = 'Write it like "Mon 08:00 notebook x30" or "2026-12-01 08:00 notebook x30".'


@dataclass(frozen=True)
class When:
    """A time of the week, or of one day, in a zone."""

    day: str
    time: str
    zone: str

    @property
    def is_weekly(self) -> bool:
        """Whether it comes again every week."""
        return self.day in WEEKDAYS

    def around(self, now: float, *, stay_s: float) -> float | None:
        """The start (Unix time) that is next, or that is less than `stay_s` ago; none if the only one is over.

        By the clock on the wall: where clocks are changed the hour stays the same. A time that is skipped then counts
        as before the change (PEP 495, fold 0).
        """
        zone = ZoneInfo(self.zone)
        clock = dt.time.fromisoformat(self.time)
        if not self.is_weekly:
            start = dt.datetime.combine(dt.date.fromisoformat(self.day), clock, zone).timestamp()
            return start if start + stay_s > now else None
        today = dt.datetime.fromtimestamp(now, zone).date()
        for days in range(-7, 9):
            day = today + dt.timedelta(days=days)
            if WEEKDAYS[day.weekday()] == self.day:
                start = dt.datetime.combine(day, clock, zone).timestamp()
                if start + stay_s > now:
                    return start
        raise AssertionError("A week has every weekday.")


def read_entry(text: str, default_zone: str) -> tuple[When, str, int]:
    """When, which application and how many people; raises BadInput that names what is wrong."""
    found = _ENTRY.fullmatch(text.strip())
    if found is None:
        raise BadInput(f"{text!r} is no time with an application.", field="entry", remedy=REMEDY)
    count = int(found["count"] or 1)
    when = make_when(found["day"], found["time"], default_zone)
    return when, found["application"], check_count(count)


def check_count(count: int) -> int:
    """How many people may be expected at once; raises BadInput."""
    if not 1 <= count <= MOST_PEOPLE:
        raise BadInput(f"Expected 1 to {MOST_PEOPLE} people, not {count}.", field="count", remedy=REMEDY)
    return count


def make_when(day: str, time: str, zone: str) -> When:
    """A time in one spelling; raises BadInput."""
    try:
        clock = dt.time.fromisoformat(time.zfill(5)).strftime("%H:%M")
    except ValueError as error:
        raise BadInput(f"{time} is no time of a day.", field="time", remedy=REMEDY) from error
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadInput(
            f"There is no time zone {zone}.", field="zone", remedy="Name one like Europe/Berlin or UTC."
        ) from error
    name = day[:3].lower()
    full = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    if name in WEEKDAYS and full[WEEKDAYS.index(name)].startswith(day.lower()):
        return When(name, clock, zone)
    try:
        return When(dt.date.fromisoformat(day).isoformat(), clock, zone)
    except ValueError as error:
        raise BadInput(f"{day} is no weekday and no date.", field="day", remedy=REMEDY) from error
