"""The state machine of an instance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.words import InstanceState
from master.lifecycle.states import ON_A_BOX, STEPS, WAITING, may


def test_what_is_stopped_or_failed_never_moves_again() -> None:
    assert not any(
        may(over, state) for over in (InstanceState.STOPPED, InstanceState.FAILED) for state in InstanceState
    )


def test_every_state_can_reach_an_end() -> None:
    for start in InstanceState:
        seen, frontier = {start}, [start]
        while frontier:
            for state in STEPS[frontier.pop()] - seen:
                seen.add(state)
                frontier.append(state)
        assert InstanceState.STOPPED in seen or start is InstanceState.FAILED


@given(st.sampled_from(InstanceState))
def test_a_state_waits_is_on_a_box_or_is_over(state: InstanceState) -> None:
    over = state in (InstanceState.STOPPED, InstanceState.FAILED)
    assert [state in WAITING, state in ON_A_BOX, over].count(True) == 1
