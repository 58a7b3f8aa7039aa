"""What `openraas up` shows while it works."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from master.up import display as module
from master.up.display import Display


def shown(*, terminal: bool) -> tuple[Display, io.StringIO]:
    text = io.StringIO()
    return Display(Console(file=text, force_terminal=terminal, width=100, color_system=None)), text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that steps see; a test lets it pass."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_step_that_takes_time_leaves_a_line_with_its_time(clock: list[float]) -> None:
    display, text = shown(terminal=False)
    with display.step("Building"):
        clock[0] += 2.5
    assert text.getvalue() == "✓ Building 2.5 s\n"


def test_a_step_that_is_over_at_once_leaves_no_line(clock: list[float]) -> None:
    display, text = shown(terminal=False)
    with display.step("Looking"):
        clock[0] += 0.01
    assert text.getvalue() == ""


def test_a_step_that_fails_is_not_called_done(clock: list[float]) -> None:
    display, text = shown(terminal=False)
    with pytest.raises(ValueError, match="no"), display.step("Building"):
        clock[0] += 2.5
        raise ValueError("no")
    assert "✓" not in text.getvalue()


def test_on_a_terminal_a_bar_shows_how_much_is_done() -> None:
    display, text = shown(terminal=True)
    with display.step("Stopping instances", total=4) as advance:
        advance(1)
        bars = display_of(text)
        advance(4)
    assert "Stopping instances" in bars + display_of(text)
    assert re.search("━{30}", display_of(text)), "the bar is full at the end"


def display_of(text: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
