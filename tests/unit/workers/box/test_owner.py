"""What owners allow: hours, load, temperature, and the switch."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from workers.box.config import BoxConfig
from workers.box.owner import OwnerRules, Span, Switch

MONDAY = 16  # of November 2026


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """A moment in the week that begins on a Monday; day 0 to 6."""
    return datetime(2026, 11, MONDAY + day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("18:00-08:00", [at(0, 18), at(0, 23), at(3, 7, 59)], [at(0, 8), at(0, 17, 59)]),
        ("mon-fri 18:00-08:00", [at(4, 20), at(5, 7)], [at(5, 8), at(5, 20), at(6, 7), at(0, 7)]),
        ("sat-sun 00:00-24:00", [at(5, 0), at(6, 23, 59)], [at(4, 23, 59), at(0, 0)]),
        ("fri-mon 09:00-17:00", [at(4, 9), at(0, 16)], [at(1, 10), at(3, 10)]),
        ("wed 12:00-13:00", [at(2, 12)], [at(2, 13), at(3, 12)]),
    ],
)
def test_hours_are_by_day_and_may_go_past_midnight(
    hours: str, inside: list[datetime], outside: list[datetime]
) -> None:
    span = Span.parse(hours)
    assert [span.has(moment) for moment in inside] == [True] * len(inside)
    assert [span.has(moment) for moment in outside] == [False] * len(outside)


@given(st.text(max_size=30))
def test_any_text_is_hours_or_refused(text: str) -> None:
    try:
        Span.parse(text)
    except ValueError as error:
        assert "18:00-08:00" in str(error)


def test_bad_hours_in_the_configuration_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="lend_hours"):
        BoxConfig.build({"box": "b", "state_dir": tmp_path, "lend_hours": ["25:00-26:00"]}, source="box.toml")


def test_each_rule_says_why_nothing_new_is_taken() -> None:
    rules = OwnerRules(("18:00-08:00",), most_load=1.5, most_temperature_c=75.0)
    night, day = at(0, 20), at(0, 12)
    assert rules.paused(night, 1.0, 60.0, is_off=False) == ""
    assert rules.paused(night, 1.0, None, is_off=False) == ""
    assert rules.paused(day, 1.0, 60.0, is_off=False) == "is lent only 18:00-08:00 by its owner"
    assert "busy (load 2.0" in rules.paused(night, 2.0, 60.0, is_off=False)
    assert "too warm (80 °C" in rules.paused(night, 1.0, 80.0, is_off=False)
    assert rules.paused(night, 1.0, 60.0, is_off=True) == "is switched off by its owner"
    assert OwnerRules().paused(day, 99.0, 99.0, is_off=False) == ""


def test_the_switch_outlives_the_process(tmp_path: Path) -> None:
    Switch(tmp_path).turn(off=True)
    assert Switch(tmp_path).is_off
    Switch(tmp_path).turn(off=False)
    Switch(tmp_path).turn(off=False)
    assert not Switch(tmp_path).is_off
