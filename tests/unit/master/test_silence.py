"""Which boxes count as lost, decided from plain facts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from master.lifecycle.silence import Heard, Verdict, judge

NOW, LIMIT_S = 1000.0, 20.0


def verdict(*known: Heard) -> Verdict:
    return judge(known, now=NOW, lost_after_s=LIMIT_S)


def test_a_box_that_falls_silent_is_not_lost_at_once() -> None:
    assert verdict(Heard("a", False, None, False)) == Verdict(fell_silent=("a",))
    assert verdict(Heard("a", False, NOW - LIMIT_S, False)) == Verdict()


def test_a_box_is_lost_once_after_the_limit() -> None:
    assert verdict(Heard("a", False, NOW - LIMIT_S - 1, False)) == Verdict(lost=("a",))
    assert verdict(Heard("a", False, NOW - LIMIT_S - 1, True)) == Verdict()


def test_a_lost_box_that_speaks_is_back_and_its_silence_is_forgotten() -> None:
    assert verdict(Heard("a", True, 5.0, True)) == Verdict(speak_again=("a",), returned=("a",))
    assert verdict(Heard("a", True, None, True)) == Verdict(returned=("a",))


def test_a_box_that_speaks_needs_nothing() -> None:
    assert verdict(Heard("a", True, None, False)) == Verdict()


heard = st.builds(
    Heard, st.text("abc", min_size=1), st.booleans(), st.none() | st.floats(0, NOW), st.booleans()
)


@given(st.lists(heard, unique_by=lambda item: item.box))
def test_only_who_is_silent_can_be_lost_and_only_who_speaks_can_return(known: list[Heard]) -> None:
    up = {item.box: item.is_up for item in known}
    found = verdict(*known)
    assert not any(up[box] for box in (*found.lost, *found.fell_silent))
    assert all(up[box] for box in (*found.returned, *found.speak_again))
