"""Figures of runs, their intervals, and what they are written into."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from common.errors import BadInput, Unavailable
from master.simulation.cli import simulate as command
from master.simulation.many import made, run_all
from master.simulation.output import FIELDS, write_csv, write_parquet
from master.simulation.record import Outcome
from master.simulation.summary import Runs, estimate, figures
from tests.support.simulation import GB, MB, MBIT, column, kind, run, scenario

TINY = ["--set", "people.count=15", "--set", "servers.count=8", "--set", "slots.count=1"]
SMALL = ["--set", "people.count=40", "--set", "servers.count=3", "--set", "slots.count=2"]


def test_a_mean_over_seeds_has_the_t_interval() -> None:
    found = estimate([1.0, 2.0, 3.0, 4.0])
    assert (found.mean, found.count) == (2.5, 4)
    assert found.half == pytest.approx(3.182 * 1.2909944 / 2, rel=1e-6)


def test_one_seed_has_no_interval_and_none_no_mean() -> None:
    assert math.isnan(estimate([3.0]).half)
    assert str(estimate([math.nan])) == "-"
    assert estimate(range(40)).half == pytest.approx(1.96 * np.std(range(40), ddof=1) / math.sqrt(40))


def test_a_dropped_request_counts_as_dropped_and_with_its_patience() -> None:
    found = figures(run(scenario({"compute": 50}, people={"count": 4}, slots={"count": 1, "length_s": 600})))
    assert (found["requests"], found["drop_rate"], found["drop_rate_no_room"]) == (4, 0.75, 0.75)
    assert found["delay_s"] == pytest.approx(0.75 * 600)


def test_the_start_delay_is_told_by_part() -> None:
    task = {"input_bytes": 5 * MB, "layers": ["base"]}
    found = figures(run(scenario(task, cost={"launch_s": 0.5}, device={"link_bps": 100 * MBIT})))
    parts = [found[f"start.{part}"] for part in ("layers_s", "launch_s", "traffic_s")]
    assert parts == pytest.approx([0.0, 0.5, 0.402])
    assert found["delay_s"] == pytest.approx(sum(parts))


def test_latency_jitter_and_speed_are_those_of_what_started() -> None:
    found = figures(run(scenario({"stream_bps": 100 * MBIT})))
    assert (found["latency_ms"], found["speed_mbps"]) == (2.0, 100.0)
    assert found["jitter_ms"] == pytest.approx(0.2)


def test_utilisation_is_told_by_resource_and_kind_of_box() -> None:
    task = {"compute": 25, "stream_bps": 100 * MBIT}
    found = figures(run(scenario(task, slots={"count": 2})))
    assert found["utilisation.compute.server"] == pytest.approx(0.5)
    assert found["utilisation.link.server"] == pytest.approx(0.1)
    assert found["utilisation.disk.server"] == pytest.approx(100 * MB / (100 * GB))
    assert found["utilisation.compute"] == pytest.approx(0.5), "the centre does not count"


def test_bytes_are_told_by_what_they_were_and_the_kind_of_their_source() -> None:
    found = figures(run(scenario({"input_bytes": 5 * MB, "stream_bps": 8 * MBIT})))
    assert found["bytes.input.desktop"] == 5 * MB
    assert found["bytes.streams.server"] == pytest.approx(1800 * MB, rel=0.01)


def test_fairness_is_one_when_all_get_the_same_and_less_when_some_get_more() -> None:
    assert figures(run(scenario({"compute": 1}, people={"count": 5})))["fairness.people"] == 1.0
    assert figures(run(scenario({"compute": 50}, people={"count": 5})))["fairness.people"] == pytest.approx(
        0.2
    )


def test_broken_and_abandoned_requests_are_told_apart_from_dropped_ones() -> None:
    people = {"count": 30, "lends": 1.0, "online": {"stays": 0.5, "returns": 0.5, "first": 1.0}}
    result = run(
        scenario({"compute": 5, "slots": 4}, servers={"compute": 0}, people=people, slots={"count": 4})
    )
    found = figures(result)
    outcomes = column(result, "outcome")
    assert found["broken_rate"] == pytest.approx((outcomes == Outcome.BROKEN).mean())
    assert found["broken_rate"] > 0
    assert found["drop_rate"] == pytest.approx(np.isin(outcomes, [Outcome.NO_ROOM, Outcome.LATE]).mean())


@pytest.fixture(scope="module")
def runs() -> Runs:
    """Two policies, two seeds, a small world."""
    world = scenario({"compute": 5, "layers": ["base"]}, servers=kind(count=3), people={"count": 20})
    return run_all(world, ["nearest", "random"], [4, 5])


def test_the_figures_do_not_depend_on_how_many_run_at_the_same_time(runs: Runs) -> None:
    world = scenario({"compute": 5, "layers": ["base"]}, servers=kind(count=3), people={"count": 20})
    twice = run_all(world, ["nearest", "random"], [4, 5], jobs=2)
    assert repr(twice.by_policy) == repr(runs.by_policy)


def test_a_report_says_how_many_of_each_thing_were_made() -> None:
    world = scenario({"compute": 5, "layers": ["base"]}, servers=kind(count=3), people={"count": 20})
    assert made(world, 1) == {
        "servers": 3, "desktops": 20, "areas": 1, "applications": 1, "layers": 1, "slots": 1
    }  # fmt: skip


def test_a_csv_has_every_figure_of_every_run(runs: Runs, tmp_path: Path) -> None:
    write_csv(runs, tmp_path / "figures.csv")
    with (tmp_path / "figures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == FIELDS
    found = {(row["policy"], int(row["seed"]), row["figure"]): float(row["value"]) for row in rows}
    assert found["random", 5, "delay_s"] == runs.by_policy["random"][1]["delay_s"]


@pytest.mark.parametrize(
    ("option", "module", "extra"), [("parquet", "pyarrow", "parquet"), ("html", "matplotlib", "simulation")]
)
def test_what_is_not_installed_is_told_before_anything_runs(
    option: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("master.simulation.cli.find_spec", lambda name: None)
    monkeypatch.setattr("master.simulation.cli.run_all", None)
    with pytest.raises(Unavailable, match=rf"needs {module}.*openraas\[{extra}\]"):
        invoke("nearest-with-room", f"--{option}", str(tmp_path / "file"))


def test_a_file_that_cannot_be_written_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("master.simulation.cli.run_all", None)
    with pytest.raises(BadInput, match="There is no folder"):
        invoke("nearest-with-room", "--csv", str(tmp_path / "none" / "figures.csv"))


def test_parquet_holds_the_same_as_csv(runs: Runs, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(runs, tmp_path / "figures.parquet")
    table = parquet.read_table(tmp_path / "figures.parquet").to_pylist()
    assert len(table) == sum(len(run) for found in runs.by_policy.values() for run in found)
    assert tuple(table[0]) == FIELDS


def invoke(*arguments: str) -> str:
    """What `openraas simulate` prints."""
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_simulate_prints_a_row_per_policy_and_what_was_made() -> None:
    printed = invoke("openraas-paper", "--policy", "nearest,cloud", "--seeds", "2", *SMALL)
    assert "2 seeds make wide intervals" in printed
    assert "3 servers, 20 desktops, 14 mobile, 6 iot" in printed
    rows = [line.split()[0] for line in printed.splitlines() if line.startswith(("nearest", "cloud"))]
    assert rows == ["nearest", "cloud"]
    assert "±" in printed


def test_simulate_as_json_has_means_and_intervals() -> None:
    found = json.loads(invoke("openraas-paper", "--policy", "first", "--seeds", "2", "--json", *SMALL))
    drop = found["policies"]["first"]["drop_rate"]
    assert 0 <= drop["mean"] <= 1
    assert drop["half"] >= 0
    assert found["seeds"] == [0, 1]


def test_simulate_lists_scenarios_and_policies() -> None:
    listed = invoke("--list")
    assert "openraas-paper" in listed
    assert "start-soonest" in listed


def test_the_html_report_is_one_page_with_its_plots_inside_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "report.html"
    invoke("openraas-paper", "--policy", "nearest,edge", "--seeds", "1", "--html", str(path), *TINY)
    page = path.read_text()
    for title in ("Dropped requests", "Start delay by part", "Way to the box", "Speed of the traffic", "Fairness",
                  "Used of the compute", "Used of the disk", "Used of the link", "Bytes of layers"):  # fmt: skip
        assert title in page, title
    for plot in page.split("<figure>")[1:]:
        ElementTree.fromstring(plot.split("</figure>")[0])  # noqa: S314 - our own
    assert "<script" not in page
    assert 'src="http' not in page
