"""Wake-ups that become one run."""

from __future__ import annotations

import threading

import pytest

from master.scheduler.wakes import Wakes

LIMIT_S = 10.0


def test_whoever_comes_while_it_runs_gets_one_more_run_and_does_not_wait() -> None:
    began, go_on = threading.Event(), threading.Event()
    runs: list[int] = []

    def run() -> None:
        runs.append(len(runs))
        began.set()
        assert go_on.wait(LIMIT_S)

    wakes = Wakes(run)
    first = threading.Thread(target=wakes.wake)
    first.start()
    assert began.wait(LIMIT_S)
    for _ in range(5):
        wakes.wake()
    go_on.set()
    first.join(LIMIT_S)
    assert runs == [0, 1]


def test_a_run_that_fails_keeps_nobody_out() -> None:
    def fail() -> None:
        raise ValueError("no")

    wakes = Wakes(fail)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            wakes.wake()


def test_every_wake_is_followed_by_a_run_that_began_after_it() -> None:
    done, seen = 0, 0
    lock = threading.Lock()

    def run() -> None:
        nonlocal seen
        with lock:
            seen = done

    wakes = Wakes(run)

    def work() -> None:
        nonlocal done
        for _ in range(200):
            with lock:
                done += 1
            wakes.wake()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert (done, seen) == (800, 800)
