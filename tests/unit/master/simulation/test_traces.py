"""Requests from traces: our own, public ones, and broken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.errors import BadInput
from master.simulation.record import NOBODY, Outcome
from master.simulation.scenario import Replay
from master.simulation.traces import read_trace
from tests.support.simulation import GB, begin, column, run, scenario

OURS = """\
arrival_s,duration_s,cpu,memory_bytes,task
100,60,2,1000000000,only
160,30,1,0,only
40,500,4,2000000000,only
"""


def trace(folder: Path, text: str, **values: object) -> Replay:
    """A trace's file and how it is read."""
    (folder / "trace.csv").write_text(text)
    return Replay.model_validate({"file": str(folder / "trace.csv"), **values})


def replayed(folder: Path, text: str, **servers: object):  # type: ignore[no-untyped-def]
    """A world that replays our own format."""
    told = trace(folder, text).model_dump()
    return scenario({}, servers={"memory_bytes": 4 * GB, **servers}, people={"count": 2}, trace=told)


def test_our_own_traces_are_read_in_the_order_of_arrival(tmp_path: Path) -> None:
    found = read_trace(trace(tmp_path, OURS), ["only"])
    assert found.arrival_s.tolist() == [0, 60, 120]
    assert found.duration_s.tolist() == [500, 60, 30]
    assert found.cpu.tolist() == [4, 2, 1]
    assert found.memory_bytes.tolist() == [2e9, 1e9, 0]


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("v1,s,d,3600,7200,9,9,9,class,2,8\n", {"format": "azure"}),
        (
            "task,1,job,4,Terminated,3600,7200,200,50\n",
            {"format": "alibaba", "memory_scale": 16 * 2**30},
        ),
        (
            "start_time,end_time,cpu_request,memory_request\n3600000000,7200000000,0.1,0.25\n",
            {"format": "google", "cpu_scale": 20, "memory_scale": 32 * 2**30},
        ),
        (
            "when;x\n".replace(";", ",") + "1.0,2\n",
            {
                "format": "columns",
                "columns": {"arrival": {"at": "when", "scale": 3600}, "duration": {"at": "when", "scale": 3600},
                            "cpu": {"at": "x"}, "memory": {"at": "x", "scale": 4 * 2**30}},
            },
        ),
    ],
)  # fmt: skip
def test_public_formats_come_out_in_seconds_cores_and_bytes(
    tmp_path: Path, text: str, settings: dict[str, object]
) -> None:
    found = read_trace(trace(tmp_path, text, **settings), ["only"])
    assert (found.duration_s[0], found.cpu[0], found.memory_bytes[0]) == (3600, 2, 8 * 2**30)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("60,x,1,1,only", "line 3: duration_s: 'x' is not a number"),
        ("60,1,-1,1,only", "line 3: cpu: '-1' is not a number that cpu can have"),
        ("60,nan,1,1,only", "line 3: duration_s: 'nan'"),
        ("60,1,1", "line 3: 3 columns, but the header names 5"),
        ("60,1,1,1,other", "line 3: task: the scenario has no task 'other', only: only"),
    ],
)
def test_a_malformed_line_in_the_middle_is_named_with_its_column(
    tmp_path: Path, line: str, says: str
) -> None:
    lines = OURS.splitlines()
    with pytest.raises(BadInput, match=says) as caught:
        read_trace(trace(tmp_path, "\n".join([*lines[:2], line, *lines[2:]])), ["only"])
    assert str(tmp_path / "trace.csv") in str(caught.value)


@pytest.mark.parametrize("text", ["", "arrival_s,duration_s,cpu,memory_bytes,task\n"])
def test_an_empty_trace_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match="has no request in it"):
        read_trace(trace(tmp_path, text), ["only"])


def test_a_header_without_a_needed_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="line 1: the header has no column cpu"):
        read_trace(trace(tmp_path, "arrival_s,duration_s\n1,2\n"), ["only"])


def test_an_unknown_format_is_told_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="azure"):
        read_trace(trace(tmp_path, OURS, format="other"), ["only"])


def test_a_trace_replays_with_its_own_arrivals_durations_and_needs(tmp_path: Path) -> None:
    simulation = begin(replayed(tmp_path, OURS))
    ends: dict[float, list[float]] = {}
    simulation.clock.at(59.9, lambda: ends.setdefault(59.9, simulation.fleet.reserved[:2, 1].tolist()))
    simulation.clock.at(65.0, lambda: ends.setdefault(65.0, simulation.fleet.reserved[:2, 1].tolist()))
    simulation.clock.at(505.0, lambda: ends.setdefault(505.0, simulation.fleet.reserved[:2, 1].tolist()))
    simulation.slot(0)
    assert ends == {59.9: [4, 2e9], 65.0: [6, 3e9], 505.0: [0, 0]}


def test_a_request_of_a_trace_that_fits_nowhere_when_it_arrives_is_dropped(tmp_path: Path) -> None:
    result = run(replayed(tmp_path, OURS, compute=5))
    assert column(result, "outcome").tolist() == [Outcome.STARTED, Outcome.NO_ROOM, Outcome.STARTED]
    assert (column(result, "box") == NOBODY).tolist() == [False, True, False]


def test_a_replay_is_the_same_every_time(tmp_path: Path) -> None:
    lines = [f"{at * 7},{at % 50},{at % 4},0,only" for at in range(900)]
    world = replayed(tmp_path, "\n".join([OURS.splitlines()[0], *lines]), compute=20)
    one, other = run(world, "random"), run(world, "random")
    assert np.array_equal(column(one, "box"), column(other, "box"))
    assert len(column(one, "box")) == 900


def test_boxes_and_holders_may_be_named_one_by_one() -> None:
    named = {
        "lab-1": {
            "compute": 4,
            "disk_bytes": 10 * GB,
            "link_bps": 10**8,
            "access_ms": 1,
            "open": 1,
            "fixed": 1,
        },
        "lab-2": {
            "compute": 8,
            "disk_bytes": 10 * GB,
            "link_bps": 10**8,
            "access_ms": 1,
            "open": 1,
            "fixed": 1,
        },
    }
    pools = {"base": {"count": 1, "size_bytes": 10**6, "on": ["lab-2"]}}
    simulation = begin(scenario({"layers": ["base"]}, servers={"count": 0}, boxes=named, pools=pools))
    assert simulation.fleet.capacity[0, 1:3].tolist() == [4, 8]
    assert simulation.fleet.layers.sources("base-0").tolist() == [2]
    assert simulation.fleet.names[1:3] == ["0000001-lab-1", "0000002-lab-2"]
