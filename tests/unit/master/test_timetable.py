"""Times of the timetable, and how the people who are expected are shared out."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from master.prewarming.planning import counts, keep
from master.timetable.times import WEEKDAYS, When, read_entry

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def test_an_entry_says_day_time_application_and_people_in_one_line() -> None:
    assert read_entry("Mon 08:00 notebook x30", BERLIN) == (When("mon", "08:00", BERLIN), "notebook", 30)
    assert read_entry(" thursday 9:15 ide ", "UTC") == (When("thu", "09:15", "UTC"), "ide", 1)
    assert read_entry("2026-12-01 08:00 shell x 2", "UTC") == (When("2026-12-01", "08:00", "UTC"), "shell", 2)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("notebook", "entry"),
        ("Mon 25:00 notebook x3", "time"),
        ("Mox 08:00 notebook x3", "day"),
        ("2026-02-30 08:00 notebook", "day"),
        ("Mon 08:00 notebook x0", "count"),
        ("Mon 08:00 notebook x9999", "count"),
    ],
)
def test_an_entry_that_cannot_be_understood_names_what_is_wrong(text: str, field: str) -> None:
    with pytest.raises(BadInput) as wrong:
        read_entry(text, "UTC")
    assert wrong.value.field == field


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(BadInput, match="no time zone Middle/Earth"):
        read_entry("Mon 08:00 notebook", "Middle/Earth")


def test_a_weekly_time_stays_at_its_hour_when_the_clocks_change() -> None:
    when = When("mon", "08:00", BERLIN)
    before, after = at("2026-10-19T08:00"), at("2026-10-26T08:00")  # clocks change on the 25th
    assert when.around(before - 10, stay_s=0) == before
    assert when.around(before + 10, stay_s=0) == after
    assert after - before == 7 * 86400 + 3600


def test_a_start_counts_until_those_who_are_late_have_come() -> None:
    when = When("mon", "08:00", BERLIN)
    start = at("2026-10-19T08:00")
    assert when.around(start + 800, stay_s=900) == start
    assert when.around(start + 901, stay_s=900) == at("2026-10-26T08:00")


def test_what_comes_once_is_over_afterwards() -> None:
    when = When("2026-12-01", "08:00", "UTC")
    start = at("2026-12-01T08:00", "UTC")
    assert when.around(start - 1e6, stay_s=0) == start
    assert when.around(start + 1, stay_s=0) is None


@given(
    day=st.sampled_from(WEEKDAYS),
    hour=st.integers(0, 23),
    now=st.floats(1.7e9, 1.9e9),
    stay_s=st.floats(0, 3600),
)
def test_a_weekly_time_is_never_further_away_than_a_week(
    day: str, hour: int, now: float, stay_s: float
) -> None:
    start = When(day, f"{hour:02}:00", BERLIN).around(now, stay_s=stay_s)
    assert start is not None
    assert now - stay_s < start <= now + 7 * 86400 + 2 * 3600
    local = dt.datetime.fromtimestamp(start, ZoneInfo(BERLIN))
    assert WEEKDAYS[local.weekday()] == day


shares = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), max_size=6)


@given(shares=shares, wanted=st.integers(0, 60))
def test_what_is_kept_of_shares_is_never_more_than_is_wanted_and_as_even_as_it_can_be(
    shares: dict[str, int], wanted: int
) -> None:
    kept = keep(shares, wanted)
    assert sum(kept.values()) == min(wanted, sum(shares.values()))
    assert all(0 < kept[box] <= shares[box] for box in kept)


@given(
    shares=shares,
    wanted=st.integers(0, 60),
    came=st.dictionaries(st.sampled_from("abcxyz"), st.integers(0, 9)),
)
def test_a_box_to_which_people_came_keeps_fewer_ready(
    shares: dict[str, int], wanted: int, came: dict[str, int]
) -> None:
    waiting = counts(shares, wanted, came)
    assert waiting.keys() == shares.keys()
    assert all(0 <= waiting[box] <= max(0, shares[box] - came.get(box, 0)) for box in shares)
    assert sum(waiting.values()) <= wanted
