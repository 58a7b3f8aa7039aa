"""When room comes, and who may pass whom."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from master.scheduling.forecast import Candidate, Hold, predict_starts, protect
from master.scheduling.layers import Bools, Floats


def row(cpu: float, memory: float = 0.0) -> Floats:
    return np.array([cpu, memory, 0.0, 0.0, 0.0])


def rooms(*cores: float) -> Floats:
    return np.array([row(amount) for amount in cores])


def everywhere(boxes: int) -> Bools:
    return np.ones(boxes, dtype=bool)


def kept(cpu: float, free: Floats, holds: list[Hold], suited: Bools | None = None):  # type: ignore[no-untyped-def]
    mask = everywhere(len(free)) if suited is None else suited
    return protect(np.tile(row(cpu), (len(free), 1)), mask, free, holds)


def test_the_head_gets_the_box_on_which_it_fits_first() -> None:
    holds = [Hold(0, row(2), 500.0), Hold(1, row(1), 100.0), Hold(1, row(1), 300.0)]
    found = kept(2, rooms(0, 0), holds)
    assert (found.row, found.since) == (1, 300.0)


def test_a_box_that_is_not_suited_is_never_kept() -> None:
    holds = [Hold(0, row(2), 100.0), Hold(1, row(2), 300.0)]
    assert kept(2, rooms(0, 0), holds, np.array([False, True])).row == 1


def test_what_fits_nowhere_even_when_all_ends_keeps_nothing() -> None:
    assert kept(8, rooms(1, 1), [Hold(0, row(2), 100.0)]) is None


def test_a_small_request_may_pass_where_it_does_not_touch_what_is_kept() -> None:
    found = kept(3, rooms(2, 2), [Hold(0, row(2), 100.0)])
    assert found.row == 0
    assert found.allows(1, row(2), until=10**9), "another box"
    assert found.allows(0, row(2), until=100.0), "it ends before"
    assert not found.allows(0, row(2), until=101.0), "one core too many when the head starts"
    assert found.allows(0, row(1), until=10**9), "one core will be spare beside the head"
    found.note(0, row(1), until=10**9)
    assert not found.allows(0, row(1), until=10**9), "the spare core is taken now"


def test_those_who_wait_start_when_what_runs_ends() -> None:
    holds = [Hold(0, row(1), 100.0), Hold(0, row(1), 200.0)]
    waiting = [Candidate(row(1), everywhere(1), 1000.0) for _ in range(3)]
    # The third waits for the first of those who waited before it.
    assert predict_starts(waiting, rooms(0), holds, now=50.0) == [100.0, 200.0, 1100.0]


def test_nothing_is_promised_where_nothing_is_known() -> None:
    waiting = [Candidate(row(4), everywhere(1), 10.0), Candidate(row(1), everywhere(1), 10.0)]
    assert predict_starts(waiting, rooms(0), [], now=0.0) == [None, None]
    assert predict_starts(waiting, rooms(0), [Hold(0, row(1), 5.0)], now=0.0) == [None, 5.0]


def test_what_should_have_ended_already_ends_now() -> None:
    waiting = [Candidate(row(1), everywhere(1), 10.0)]
    assert predict_starts(waiting, rooms(0), [Hold(0, row(1), 5.0)], now=60.0) == [60.0]


cores = st.integers(1, 4)
holds_of = st.lists(
    st.builds(Hold, row=st.integers(0, 2), amounts=cores.map(row), until=st.integers(1, 1000).map(float)),
    min_size=1,
    max_size=12,
)
passers = st.lists(st.tuples(st.integers(0, 2), cores, st.integers(1, 2000)), max_size=12)


@given(holds_of, st.lists(st.integers(0, 3), min_size=3, max_size=3), st.integers(1, 8), passers)
def test_passing_never_delays_the_heads_start(
    holds: list[Hold], free: list[int], wanted: int, others: list[tuple[int, int, int]]
) -> None:
    room = rooms(*free)
    found = kept(wanted, room, holds)
    if found is None:
        return
    running = list(holds)
    for box, cpu, until in others:
        amounts = row(cpu)
        if (amounts <= room[box]).all() and found.allows(box, amounts, float(until)):
            found.note(box, amounts, float(until))
            room[box] -= amounts
            running.append(Hold(box, amounts, float(until)))
    after = kept(wanted, room, running)
    assert after is not None
    assert after.since <= found.since


@given(holds_of, st.lists(cores, max_size=8))
def test_a_predicted_start_is_never_before_the_room_is_there(holds: list[Hold], asked: list[int]) -> None:
    waiting = [Candidate(row(cpu), everywhere(3), 50.0) for cpu in asked]
    starts = predict_starts(waiting, rooms(0, 0, 0), holds, now=0.0)
    for moment in {start for start in starts if start is not None}:
        begun = sum(
            cpu
            for cpu, start in zip(asked, starts, strict=True)
            if start is not None and start <= moment < start + 50
        )
        freed = sum(float(hold.amounts[0]) for hold in holds if hold.until <= moment)
        assert begun <= freed + 1e-6
