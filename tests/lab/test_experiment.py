"""`openraas experiment` as a person types it: both worlds, the figures, the trace, and nothing left behind."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis import wait_until
from workers.lab import build, remains
from workers.lab.commands import OPENRAAS
from workers.lab.plan import BASE

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.long]

WHOLE_S, UP_S, END_S = 240.0, 60.0, 150.0
# One box that holds the image itself. Two ask at once, and there is room for one: the other waits for its end.
SCENARIO = """
base: base.yaml
name: tiny
title: Two ask, one has room
boxes:
  near: {compute: 1, disk_bytes: 8GB, link_bps: 200Mbit, access_ms: 0, open: 1, fixed: 1, stores_files: true}
pools:
  system: {count: 1, size_bytes: 2MB, files: 20, on: [near]}
tasks:
  desktop: {compute: 0.6, stream_bps: 5Mbit, layers: [system], slots: 1}
  storage: {compute: 0.6, layers: [system], slots: 1, home: true}
trace: {file: tiny.csv}
lab:
  patience_s: 60s
  options:
    desktop: {rate: 100}
    storage: {rate: 200, size: 100, seconds: 0}
"""
TRACE = "arrival_s,duration_s,cpu,memory_bytes,task\n0,4,0.6,33554432,desktop\n1,3,0.6,33554432,storage\n"


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """The scenario's file, with its trace and its base beside it."""
    (tmp_path / "tiny.yaml").write_text(SCENARIO)
    (tmp_path / "tiny.csv").write_text(TRACE)
    shipped = Path(__file__).parents[2] / "master" / "experiment" / "scenarios"
    (tmp_path / "base.yaml").write_text((shipped / "base.yaml").read_text())
    return tmp_path / "tiny.yaml"


@pytest.fixture
def labs() -> Iterator[list[str]]:
    """The labs that a test's experiments made; whatever is left of them goes afterwards."""
    made: list[str] = []
    yield made
    for name in made:
        if name in remains.labs():
            build.down(name)


def test_a_scenario_runs_in_both_worlds_and_what_was_recorded_replays(
    scenario: Path, tmp_path: Path, labs: list[str]
) -> None:
    running = subprocess.Popen(
        [*OPENRAAS, "experiment", str(scenario), "--csv", str(tmp_path / "steps.csv"),
         "--trace", str(tmp_path / "traces"), "--learn", str(tmp_path / "costs.yaml"), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        said, problem = running.communicate(timeout=WHOLE_S)
    except subprocess.TimeoutExpired:
        running.terminate()  # it takes its lab down
        said, problem = running.communicate(timeout=END_S)
    labs += re.findall(r"Making the lab (\w+)", problem)
    assert running.returncode == 0, problem
    (found,) = json.loads(said)
    assert (found["scenario"], found["requests"], found["compared"]) == ("tiny", 2, 2)
    assert found["steps"]["start"]["measured_s"] > 0
    with (tmp_path / "steps.csv").open() as file:
        rows = {(int(row["request"]), row["step"]): row for row in csv.DictReader(file)}
    for world in ("predicted_s", "measured_s"):
        assert float(rows[1, "queue"][world]) > 2  # the second waits for the end of the first
        assert float(rows[1, "files"][world]) > 0
        assert float(rows[0, "transfer"][world]) < 1  # all layers are there
        assert float(rows[0, "unpack"][world]) > 0
    assert "steps" in (tmp_path / "costs.yaml").read_text()

    recorded = str(tmp_path / "traces/tiny/scenario.yaml")
    replayed = subprocess.run(
        [*OPENRAAS, "simulate", recorded, "--policy", "first", "--seeds", "1", "--json"],
        capture_output=True, text=True, timeout=UP_S,
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stderr
    assert json.loads(replayed.stdout)["policies"]["first"]["requests"]["mean"] == 2
    (name,) = labs
    assert remains.of(name, BASE / name) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_asked_to_end_leaves_nothing_behind(
    number: signal.Signals, scenario: Path, labs: list[str]
) -> None:
    running = subprocess.Popen(
        [*OPENRAAS, "experiment", str(scenario)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    said = ""
    while not (making := re.search(r"Making the lab (\w+)", said)):
        line = running.stderr.readline()
        assert line, "the experiment ended before it made a lab"
        said += line
    labs.append(making[1])
    wait_until(lambda: len(remains.namespaces(making[1])) > 1, UP_S, "a lab that is half made")
    running.send_signal(number)
    running.communicate(timeout=END_S)
    assert running.returncode == 1
    assert remains.of(making[1], BASE / making[1]) == []
    assert making[1] not in remains.labs()
