"""Processors that many share: nobody is done too early, and nobody gets more than a core."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.simulation.clock import Clock
from master.simulation.processors import Processors


def ends(cores: float, jobs: list[tuple[float, float]]) -> list[float]:
    """When jobs are done that begin at a moment and take so much processor time."""
    clock = Clock()
    processors = Processors(clock, cores)
    found = [0.0] * len(jobs)

    def done(number: int) -> None:
        found[number] = clock.now

    for number, (begins, cpu_s) in enumerate(jobs):
        clock.at(begins, lambda n=number, s=cpu_s: processors.work(s, lambda: done(n)))  # type: ignore[misc]
    clock.run_out()
    return found


def test_one_job_alone_takes_its_time() -> None:
    assert ends(2, [(0, 3.0)]) == [3.0]


def test_four_equal_jobs_on_two_cores_take_twice_as_long() -> None:
    assert ends(2, [(0, 1.0)] * 4) == pytest.approx([2.0] * 4)


def test_who_comes_later_slows_down_who_is_there() -> None:
    assert ends(1, [(0, 2.0), (1, 1.0)]) == pytest.approx([3.0, 3.0])


def test_without_a_number_of_cores_nobody_slows_down_anybody() -> None:
    assert ends(0, [(0, 1.0)] * 50) == pytest.approx([1.0] * 50)


def test_what_is_stopped_gives_its_share_to_the_others() -> None:
    clock, done = Clock(), []
    processors = Processors(clock, 1)
    endless = processors.work(float("inf"), lambda: None)
    processors.work(1.0, lambda: done.append(clock.now))
    clock.at(1.0, processors.stop, endless)
    clock.run_out()
    assert done == pytest.approx([1.5])


def test_who_wants_less_than_a_share_leaves_the_rest_to_others() -> None:
    clock, done = Clock(), []
    processors = Processors(clock, 1)
    processors.work(float("inf"), lambda: None, most=0.2)
    processors.work(0.8, lambda: done.append(clock.now))
    clock.run_until(5.0)
    assert done == pytest.approx([1.0])


@given(
    cores=st.sampled_from([1.0, 2.0, 3.5]),
    jobs=st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 5)), min_size=1, max_size=20),
)
def test_no_more_is_done_than_the_cores_can_do(cores: float, jobs: list[tuple[float, float]]) -> None:
    found = ends(cores, jobs)
    assert all(end >= begins + cpu_s - 1e-6 for end, (begins, cpu_s) in zip(found, jobs, strict=True))
    first, last = min(begins for begins, _ in jobs), max(found)
    assert sum(cpu_s for _, cpu_s in jobs) <= cores * (last - first) + 1e-6
