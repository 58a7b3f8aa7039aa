"""Samples of boxes: packed, taken together, drawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from master.metrics.charts import HEIGHT, WIDTH, chart
from master.metrics.samples import Sample, mean, pack, thin, unpack
from master.metrics.services import Series


def sample(at: int, cpu: float = 0.5, temperature_c: float | None = None) -> Sample:
    return Sample(at, cpu, 1e9, 2e9, 3e6, 4e6, temperature_c, 1.5, 1.0)


@given(
    at=st.integers(0, 2**32 - 1),
    cpu=st.floats(0, 1, width=32),
    warm=st.none() | st.floats(-50, 200, width=32),
)
def test_a_sample_survives_its_way_through_redis(at: int, cpu: float, warm: float | None) -> None:
    there = sample(at, cpu, warm)
    assert unpack(pack(there)) == there
    assert len(pack(there)) == 56


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!"])
def test_what_is_no_sample_is_told_as_such(text: str) -> None:
    with pytest.raises(ValueError):
        unpack(text)


def test_a_mean_counts_the_time_in_which_the_box_was_silent_as_not_lent() -> None:
    made = mean([sample(0, 0.2), sample(10, 0.4, 40.0)], 0, expected=4)
    assert (made.cpu, made.temperature_c, made.lent, made.up) == (pytest.approx(0.3), 40.0, 0.5, 0.5)


@given(count=st.integers(0, 900), most=st.integers(1, 300))
def test_thinning_keeps_the_order_and_the_limit(count: int, most: int) -> None:
    thinned = thin([sample(10 * number) for number in range(count)], most)
    assert len(thinned) <= most
    assert [item.at for item in thinned] == sorted(item.at for item in thinned)
    assert not count or thinned[0].at == 0


def test_a_chart_breaks_its_line_where_the_box_was_silent() -> None:
    samples = [sample(0), sample(10), sample(200, 1.0), sample(210)]
    made = chart("Processor", "share", Series(10, 0, 210, samples), {"busy": lambda item: item.cpu}, top=1.0)
    (line,) = made.lines
    assert line.path == f"M0.0 60.0 L28.6 60.0 M571.4 0.0 L{WIDTH}.0 60.0"
    assert line.area.count("Z") == 2
    assert f" {HEIGHT} Z" in line.area
    assert line.latest == 0.5
    assert [at for at, _ in made.rows] == [0, 10, 200, 210]


def test_a_chart_without_a_sensor_has_no_line() -> None:
    made = chart("T", "warmth", Series(10, 0, 10, [sample(0)]), {"hottest": lambda item: item.temperature_c})
    assert (made.lines[0].path, made.lines[0].latest) == ("", None)
