"""Starts step by step: what each costs, what goes on side by side, and who waits for whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from master.scheduling.policy import load_policy
from master.simulation.engine import Result, simulate
from master.simulation.loading import load_scenario
from master.simulation.record import STEPS, Outcome
from master.simulation.scenario import Scenario

MB = 10**6


def lab(folder: Path, requests: str, **changes: Any) -> Scenario:
    """A box that computes and two that hold an image of two layers, with steps that cost nothing yet."""
    (folder / "trace.csv").write_text("arrival_s,duration_s,cpu,memory_bytes,task\n" + requests)
    kind = {"disk_bytes": "4GB", "access_ms": 0, "fixed": 1}
    shape: dict[str, Any] = {
        "name": "lab",
        "slots": {"length_s": "1h", "count": 1},
        "network": {"areas": 1, "backbone_ms": 0, "sharing": "max-min", "chunk_bytes": "1MB"},
        "servers": {**kind, "count": 0, "compute": 0, "link_bps": "1Gbit", "open": 0},
        "boxes": {
            "near": {**kind, "compute": 1, "link_bps": "800Mbit", "open": 1},
            **{f"store-{n}": {**kind, "compute": 0, "link_bps": "80Mbit", "open": 0} for n in (1, 2)},
        },
        "people": {
            "count": 1,
            "devices": {"desktop": {**kind, "share": 1, "compute": 0, "link_bps": "1Gbit", "open": 0}},
        },
        "pools": {
            name: {"count": 1, "size_bytes": 10 * MB, "on": ["store-1", "store-2"]} for name in ("one", "two")
        },
        "tasks": {"only": {"slots": 1, "compute": 0.5, "layers": ["one", "two"]}},
        "keeping": {"copies": 1, "free_bytes": 0},
        "trace": {"file": str(folder / "trace.csv")},
        **changes,
    }
    return Scenario.model_validate(shape)


def run(scenario: Scenario) -> Result:
    return simulate(scenario, load_policy("first"), 0)


def steps(result: Result, at: int = 0) -> dict[str, float]:
    return dict(zip(STEPS, result.blocks[0].steps_s[at].tolist(), strict=True))


def test_layers_come_in_chunks_from_all_holders_at_once(tmp_path: Path) -> None:
    result = run(lab(tmp_path, "0,5,0.5,0,only\n", cost={"steps": {}}))
    # 20 MB at 160 Mbit/s.
    assert steps(result)["transfer"] == pytest.approx(1.0, rel=0.05)


def test_the_first_layer_is_unpacked_while_the_second_is_on_its_way(tmp_path: Path) -> None:
    result = run(lab(tmp_path, "0,5,0.5,0,only\n", cost={"steps": {"unpack": {"cpu_s": 0.3}}}))
    found = steps(result)
    assert found["transfer"] + found["unpack"] == pytest.approx(1.3, rel=0.05)


def test_an_image_that_the_engine_has_unpacked_is_not_unpacked_again(tmp_path: Path) -> None:
    cost = {"steps": {"unpack": {"cpu_s": 0.3}}}
    result = run(lab(tmp_path, "0,1,0.5,0,only\n10,1,0.5,0,only\n", cost=cost))
    assert steps(result, 1)["unpack"] == 0
    warm = run(lab(tmp_path, "0,1,0.5,0,only\n", cost=cost, unpacked_on=["near"], pools={
        name: {"count": 1, "size_bytes": MB, "on": ["near"]} for name in ("one", "two")
    }))  # fmt: skip
    assert steps(warm)["unpack"] == 0


def test_layers_that_are_there_and_not_unpacked_cost_only_the_unpacking(tmp_path: Path) -> None:
    pools = {name: {"count": 1, "size_bytes": 50 * MB, "on": ["near"]} for name in ("one", "two")}
    cost = {"steps": {"unpack_s_per_gb": 10.0}}
    found = steps(run(lab(tmp_path, "0,5,0.5,0,only\n", cost=cost, pools=pools)))
    assert found["transfer"] == 0
    assert found["unpack"] == pytest.approx(1.0)


def test_launches_side_by_side_share_the_processors(tmp_path: Path) -> None:
    cost = {"steps": {"cores": 1, "launch": {"wait_s": 0.5, "cpu_s": 1.0}}}
    requests = "0,5,0.5,0,only\n0,5,0.5,0,only\n"
    result = run(lab(tmp_path, requests, cost=cost, tasks={"only": {"slots": 1, "compute": 0.5}}))
    assert [steps(result, at)["launch"] for at in (0, 1)] == pytest.approx([2.5, 2.5])


def test_a_task_that_burns_what_it_reserved_slows_down_the_launch_of_another(tmp_path: Path) -> None:
    cost = {"steps": {"cores": 1, "launch": {"cpu_s": 1.0}}}
    tasks = {"only": {"slots": 1, "compute": 0.5, "burns": 1}}
    result = run(lab(tmp_path, "0,60,0.5,0,only\n10,5,0.5,0,only\n", cost=cost, tasks=tasks))
    assert steps(result, 1)["launch"] == pytest.approx(2.0)


def test_who_finds_no_room_waits_until_another_ends_and_its_room_is_released(tmp_path: Path) -> None:
    shape = lab(
        tmp_path, "0,5,1,0,only\n1,5,1,0,only\n",
        cost={"steps": {"release": {"wait_s": 2.0}}},
        tasks={"only": {"slots": 1, "compute": 1}},
    )  # fmt: skip
    waiting = shape.model_copy(update={"people": shape.people.model_copy(update={"queue": True})})
    result = run(waiting)
    assert steps(result, 1)["queue"] == pytest.approx(6.0)
    assert (result.blocks[0].outcome == Outcome.STARTED).all()
    assert (run(shape).blocks[0].outcome == [Outcome.STARTED, Outcome.NO_ROOM]).all()


def test_one_that_passes_another_in_the_queue_fits_where_the_other_does_not(tmp_path: Path) -> None:
    requests = "0,50,0.5,0,only\n1,5,1,0,only\n2,5,0.5,0,only\n"
    shape = lab(tmp_path, requests, cost={"steps": {}}, tasks={"only": {"slots": 1, "compute": 1}})
    queue = run(shape.model_copy(update={"people": shape.people.model_copy(update={"queue": True})}))
    waited = queue.blocks[0].steps_s[:, 0]
    assert waited[2] == 0
    assert waited[1] == pytest.approx(49.0)


def test_files_are_mounted_before_the_launch(tmp_path: Path) -> None:
    tasks = {"only": {"slots": 1, "compute": 0.5, "home": True}}
    cost = {"steps": {"files": {"wait_s": 0.3}}}
    assert steps(run(lab(tmp_path, "0,5,0.5,0,only\n", cost=cost, tasks=tasks)))["files"] == 0.3


def test_without_steps_no_step_is_kept(tmp_path: Path) -> None:
    result = run(lab(tmp_path, "0,5,0.5,0,only\n", cost={"launch_s": "1s"}))
    assert result.blocks[0].steps_s.shape == (0, len(STEPS))
    assert np.isclose(result.blocks[0].launch_s, 1.0).all()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("unpacked_on: [nobody]", "unpacked_on: there is no box nobody"),
        ("people: {queue: true}", "people.queue: only the requests of a trace can wait"),
        ("lab: {samples: {nothing: site}}", "lab.samples: there is no task nothing"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"base: nearest-with-room\nname: bad\n{text}\n")
    with pytest.raises(Exception, match=named):
        load_scenario(str(path))
