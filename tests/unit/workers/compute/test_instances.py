"""The box's table of instances."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.words import Resources
from workers.box.table import Table
from workers.compute.instances import InstanceRow, Instances, Stage

ROOM = Resources(cpu=2, memory_bytes=100)
SMALL = Resources(cpu=1, memory_bytes=10)


@pytest.fixture
def instances(tmp_path: Path) -> Instances:
    return Instances(Table(tmp_path / "box.db"))


def admit(instances: Instances, name: str, generation: int = 1) -> InstanceRow:
    return instances.admit(name, generation, "d", SMALL, ROOM)


def test_what_does_not_fit_is_noted_as_failed_and_holds_nothing(instances: Instances) -> None:
    assert [admit(instances, name).state for name in ("i-1", "i-2", "i-3")] == [
        Stage.PREPARING,
        Stage.PREPARING,
        Stage.FAILED,
    ]
    refused = instances.get("i-3")
    assert refused is not None
    assert refused.reason == "no-room"
    assert "1 cores" in str(refused.message)
    assert [row.instance for row in instances.held()] == ["i-1", "i-2"]


def test_many_at_once_never_exceed_the_room(tmp_path: Path) -> None:
    table = Table(tmp_path / "box.db")
    instances = Instances(table)
    threads = [threading.Thread(target=admit, args=(instances, f"i-{number}")) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(instances.held()) == 2


def test_room_comes_back_when_an_instance_is_over(instances: Instances) -> None:
    for name in ("i-1", "i-2"):
        instances.end(admit(instances, name))
    assert admit(instances, "i-3").state is Stage.FAILED
    first = instances.get("i-1")
    assert first is not None
    instances.ended(first)
    assert admit(instances, "i-4").state is Stage.PREPARING


def test_an_upstream_is_there_only_while_it_runs(instances: Instances) -> None:
    row = admit(instances, "i-1")
    assert instances.place_on(row, "net", ["10.0.0.2", "10.0.0.3"]) == "10.0.0.2"
    assert instances.place_on(row, "net", ["10.0.0.2", "10.0.0.3"]) == "10.0.0.2"
    assert instances.place_on(admit(instances, "i-2"), "net", ["10.0.0.2", "10.0.0.3"]) == "10.0.0.3"
    instances.started(row, "c", 80, time.time() + 1)
    assert instances.get("i-1").upstream is None  # type: ignore[union-attr]
    assert instances.ready(row)
    assert instances.get("i-1").upstream == "10.0.0.2:80"  # type: ignore[union-attr]
    instances.end(row)
    assert instances.get("i-1").upstream is None  # type: ignore[union-attr]


def test_the_first_reason_for_an_end_counts(instances: Instances) -> None:
    row = admit(instances, "i-1")
    assert instances.end(row, reason="no-mount", message="first")
    assert not instances.end(row, reason="engine", message="second")
    marked = instances.get("i-1")
    assert marked is not None
    over = instances.ended(marked)
    assert over is not None
    assert (over.state, over.message) == (Stage.FAILED, "first")


def test_an_older_generation_changes_nothing(instances: Instances) -> None:
    old = admit(instances, "i-1", 1)
    instances.end(old)
    admit(instances, "i-1", 2)
    assert not instances.ready(old)
    assert not instances.end(old)
    assert instances.get("i-1").state is Stage.PREPARING  # type: ignore[union-attr]


def test_only_what_is_over_is_forgotten(instances: Instances) -> None:
    row = admit(instances, "i-1")
    instances.forget("i-1")
    assert instances.get("i-1") is not None
    instances.end(row)
    instances.ended(instances.get("i-1"))  # type: ignore[arg-type]
    instances.forget("i-1")
    assert instances.get("i-1") is None


STEPS = st.lists(st.sampled_from(["admit", "started", "ready", "end", "fail", "ended"]), max_size=20)


@given(steps=STEPS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_whatever_happens_in_whatever_order_what_is_over_holds_no_address(
    tmp_path: Path, steps: list[str]
) -> None:
    instances = Instances(Table(tmp_path / f"{time.time_ns()}.db"))
    row = admit(instances, "i-1")
    instances.place_on(row, "net", ["10.0.0.2"])
    for step in steps:
        before = instances.get("i-1")
        assert before is not None
        if step == "started":
            instances.started(row, "c", 80, 0)
        elif step == "ready":
            changed = instances.ready(row)
            assert changed == (before.state is Stage.STARTING)
        elif step == "end":
            instances.end(row)
        elif step == "fail":
            instances.end(row, reason="exited", message="m")
        elif step == "ended":
            instances.ended(before)
        after = instances.get("i-1")
        assert after is not None
        assert not (before.state.is_over and not after.state.is_over)
        assert not (after.state.is_over and after.address)
