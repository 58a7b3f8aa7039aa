"""What people see of a deployment, computed from its rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.words import InstanceState as S
from master.deployments.charts import shares, waterfall
from master.deployments.presentation import InstanceView, TimelineView, state_of
from master.web.words import ago, took


def row(step: str, at: float, took_s: float | None = None, **values: Any) -> TimelineView:
    fields = {
        "state": S.PREPARING,
        "generation": 1,
        "box": "b",
        "size_bytes": None,
        "sources": {},
        "detail": "",
    }
    return TimelineView(id=1, step=step, at=at, took_s=took_s, **{**fields, **values})


def instance(*rows: TimelineView, generation: int = 1) -> InstanceView:
    return InstanceView(
        id="i-1", service="web", generation=generation, state=S.RUNNING, box="b", reason=None, error=None,
        exit_code=None, image="x:1", state_at=0, depositories=[], considered=[],
        queue=None, mounts=[], timeline=list(rows),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "states", "expected"),
    [
        ("running", [], S.REQUESTED),
        ("running", [S.RUNNING, S.RUNNING], S.RUNNING),
        ("running", [S.RUNNING, S.PREPARING], S.PREPARING),
        ("running", [S.RUNNING, S.FAILED], S.FAILED),
        ("running", [S.RUNNING, S.QUEUED], S.QUEUED),
        ("stopped", [S.RUNNING], S.STOPPING),
        ("stopped", [S.STOPPED, S.STOPPED], S.STOPPED),
    ],
)
def test_a_deployment_is_as_far_as_its_last_instance(wanted: str, states: list[S], expected: S) -> None:
    assert state_of(wanted, states) is expected


def test_steps_lie_in_the_waterfall_where_they_lay_in_time() -> None:
    fall = waterfall(
        instance(row("fetch", 102, 1.0), row("mount", 101.5, 1.0), row("ready", 104, 2.0)), 100.0
    )
    assert fall.whole_s == 4.0
    assert [(bar.step, bar.left, bar.width) for bar in fall.bars] == [
        ("mount", 12.5, 25.0),
        ("fetch", 25.0, 25.0),
        ("ready", 50.0, 50.0),
    ]


def test_the_time_in_which_an_instance_waited_for_room_is_not_in_the_waterfall() -> None:
    rows = [row("placed", 3700), row("fetch", 3701, 1.0), row("ready", 3702, 1.0)]
    bars = waterfall(instance(*rows), 100.0).bars
    assert [(bar.step, bar.left, bar.width) for bar in bars] == [
        ("fetch", 0.0, 50.0),
        ("ready", 50.0, 50.0),
    ]


def test_the_waterfall_ends_when_the_instance_runs() -> None:
    rows = [row("ready", 101, 0.5, state=S.RUNNING), row("stop", 900, 3.0, state=S.STOPPED)]
    assert [bar.step for bar in waterfall(instance(*rows), 100.0).bars] == ["ready"]


def test_the_waterfall_shows_the_current_generation_alone() -> None:
    rows = [row("fetch", 101, 1.0), row("mount", 202, 1.0, generation=2)]
    assert [bar.step for bar in waterfall(instance(*rows, generation=2), 100.0).bars] == ["mount"]


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6)), max_size=8))
def test_bars_stay_inside_whatever_the_clocks_of_boxes_say(steps: list[tuple[float, float]]) -> None:
    for bar in waterfall(instance(*(row("fetch", at, took_s) for at, took_s in steps)), 0.0).bars:
        assert bar.left >= 0
        assert bar.width > 0
        assert bar.left + bar.width <= 100.02


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.035, "35 ms"), (2.44, "2.4 s"), (180, "3 min"), (8 * 3600, "8 h"), (5 * 86400, "5 days"), (None, "")],
)
def test_durations_read_as_people_say_them(seconds: float | None, text: str) -> None:
    assert took(seconds) == text


def test_never_is_never() -> None:
    assert ago(None) == "never"


def test_what_each_box_gave_is_a_share_of_what_was_fetched() -> None:
    rows = [
        row("fetch", 1, 1.0, sources={"near": 300, "far": 100}),
        row("fetch", 2, 1.0, sources={"gone": 9}, generation=2),
    ]
    told = [(item.box, item.percent, item.left, item.width) for item in shares(instance(*rows))]
    assert told == [("near", 75, 0.0, 75.0), ("far", 25, 75.0, 25.0)]
    assert shares(instance(row("ready", 1, 1.0))) == []
