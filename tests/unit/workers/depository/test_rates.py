"""The rates that people are shown of a transfer's sources."""

from __future__ import annotations

from workers.depository.showing import Rates

KEY = ("sha256:1", "seed")


def test_a_rate_is_what_came_within_the_last_seconds() -> None:
    rates = Rates(window_s=5.0)
    assert rates.sample(KEY, 0, 0.0) == 0.0
    assert rates.sample(KEY, 1000, 1.0) == 1000.0
    for second in range(2, 20):
        rates.sample(KEY, 1000, float(second))
    assert rates.sample(KEY, 1000, 20.0) == 0.0
    assert 0 < rates.sample(KEY, 2000, 21.0) <= 250.0


def test_a_source_that_begins_anew_has_no_rate_below_zero() -> None:
    rates = Rates(window_s=5.0)
    rates.sample(KEY, 5000, 0.0)
    assert rates.sample(KEY, 100, 1.0) == 0.0
    assert rates.sample(KEY, 600, 2.0) == 500.0


def test_what_no_longer_runs_is_forgotten() -> None:
    rates = Rates()
    rates.sample(KEY, 0, 0.0)
    rates.keep(set())
    assert rates.sample(KEY, 1000, 1.0) == 0.0
