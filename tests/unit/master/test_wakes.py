"""Wake-ups that become one run."""

from __future__ import annotations

import threading

import pytest

from master.scheduler.wakes import Wakes

LIMIT_S = 10.0


def test_runs_never_overlap_and_whoever_comes_meanwhile_gets_one_more() -> None:
    began, go_on = threading.Event(), threading.Event()
    running, most, runs = 0, 0, 0

    def run() -> None:
        nonlocal running, most, runs
        running += 1
        most, runs = max(most, running), runs + 1
        began.set()
        assert go_on.wait(LIMIT_S)
        running -= 1

    wakes = Wakes(run)
    threads = [threading.Thread(target=wakes.wake) for _ in range(6)]
    threads[0].start()
    assert began.wait(LIMIT_S)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(LIMIT_S)
    assert (most, running) == (1, 0)
    assert 2 <= runs <= 6


def test_a_run_that_fails_keeps_nobody_out() -> None:
    def fail() -> None:
        raise ValueError("no")

    wakes = Wakes(fail)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            wakes.wake()


def test_after_a_wake_a_run_that_began_after_it_has_ended() -> None:
    done, seen, runs = 0, 0, 0
    lock = threading.Lock()
    behind: list[int] = []

    def run() -> None:
        nonlocal seen, runs
        runs += 1
        with lock:
            seen = done

    wakes = Wakes(run)

    def work() -> None:
        nonlocal done
        for _ in range(200):
            with lock:
                done += 1
                mine = done
            wakes.wake()
            if seen < mine:
                behind.append(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert (done, seen, behind) == (800, 800, [])
    assert runs <= 800
