"""What a box's owner allows now: hours, load, temperature, and the switch that ends everything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "|".join(_DAYS)
_CLOCK = r"([01]\d|2[0-3]):([0-5]\d)"
_HOURS = re.compile(rf"^(?:({_DAY})(?:-({_DAY}))? )?{_CLOCK}-(?:{_CLOCK}|(24):(00))$")


@dataclass(frozen=True)
class Span:
    """A time of day on some days of the week. One that ends before it begins ends on the next day."""

    days: frozenset[int]
    begin: time
    end: time  # 00:00: midnight

    @classmethod
    def parse(cls, text: str) -> Span:
        """`18:00-08:00` or `mon-fri 18:00-08:00`; raises ValueError."""
        match = _HOURS.match(text.strip().lower())
        if match is None:
            raise ValueError(f"{text!r} is no time; write it like 18:00-08:00 or mon-fri 18:00-08:00")
        first = _DAYS.index(match[1]) if match[1] else 0
        last = _DAYS.index(match[2]) if match[2] else (first if match[1] else 6)
        days = frozenset((first + step) % 7 for step in range((last - first) % 7 + 1))
        hour, minute = (match[5], match[6]) if match[5] else ("0", "0")
        return cls(days, time(int(match[3]), int(match[4])), time(int(hour), int(minute)))

    def has(self, moment: datetime) -> bool:
        """Whether a moment lies in it."""
        now, today = moment.time(), moment.weekday()
        if self.begin < self.end or self.end == time(0):
            return today in self.days and self.begin <= now and (self.end == time(0) or now < self.end)
        yesterday = (today - 1) % 7
        return (today in self.days and now >= self.begin) or (yesterday in self.days and now < self.end)


def _checked(text: str) -> str:
    Span.parse(text)
    return text


Hours = Annotated[str, AfterValidator(_checked)]


class Switch:
    """A file that stands for the owner's word to end everything at once."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "switched-off"

    @property
    def is_off(self) -> bool:
        """Whether the owner wants nothing to run here."""
        return self._path.exists()

    def turn(self, *, off: bool) -> None:
        """Off ends all instances and takes none; on takes them again."""
        if off:
            self._path.touch()
        else:
            self._path.unlink(missing_ok=True)


@dataclass(frozen=True)
class OwnerRules:
    """Rules only keep new placements away; the switch alone ends what runs."""

    hours: tuple[str, ...] = ()
    most_load: float | None = None
    most_temperature_c: float | None = None

    def paused(self, moment: datetime, load: float, temperature_c: float | None, *, is_off: bool) -> str:
        """Why nothing new is taken now, for people, after the box's name; empty: something is."""
        if is_off:
            return "is switched off by its owner"
        if self.hours and not any(Span.parse(text).has(moment) for text in self.hours):
            return f"is lent only {' and '.join(self.hours)} by its owner"
        if self.most_load is not None and load > self.most_load:
            return f"is busy (load {load:.1f} per core; its owner's limit is {self.most_load:g})"
        limit = self.most_temperature_c
        if limit is not None and temperature_c is not None and temperature_c > limit:
            return f"is too warm ({temperature_c:.0f} °C; its owner's limit is {limit:g} °C)"
        return ""
