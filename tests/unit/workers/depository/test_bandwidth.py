"""The limit of what is lent of the line, on a clock that only sleeping moves."""

from __future__ import annotations

from workers.depository.bandwidth import BURST_S, Bandwidth


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, pause_s: float) -> None:
        self.now += pause_s


def test_what_is_taken_together_stays_below_the_rate() -> None:
    clock = Clock()
    bandwidth = Bandwidth(8_000_000, clock=clock, sleep=clock.sleep)
    for _ in range(50):
        bandwidth.take(100_000)
    assert 5.0 - BURST_S <= clock.now - 100.0 <= 5.0


def test_a_pause_saves_up_no_more_than_a_short_burst() -> None:
    clock = Clock()
    bandwidth = Bandwidth(8_000_000, clock=clock, sleep=clock.sleep)
    clock.now += 3600
    began = clock.now
    bandwidth.take(1_000_000)
    assert clock.now - began >= 1.0 - BURST_S - 1e-9


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    bandwidth = Bandwidth(None, clock=clock, sleep=clock.sleep)
    bandwidth.take(10**12)
    assert clock.now == 100.0
    assert not bandwidth.is_limited
