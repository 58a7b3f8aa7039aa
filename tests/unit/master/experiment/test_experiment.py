"""What an experiment reckons without a lab: timelines, images, options, comparisons, and what is learnt from them."""

from __future__ import annotations

import csv
import gzip
import json
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from common.errors import BadInput
from master.catalogue.manifest import parse_manifest
from master.experiment.cli import SCENARIOS, checked, come_along
from master.experiment.comparing import START, Comparison
from master.experiment.images import program_layer, weight_layer, write_layout
from master.experiment.lab import up_arguments
from master.experiment.learning import as_yaml, error, figures_of, learn, with_figures
from master.experiment.measuring import Start, steps_of
from master.experiment.output import shown, write_csv, write_html, write_parquet
from master.experiment.predicting import predict
from master.experiment.preparing import prepare, program_pool, with_sizes
from master.experiment.running import Measured
from master.experiment.samples import manifest_of
from master.simulation.exporting import Started, scenario_yaml, trace_csv
from master.simulation.loading import load_scenario
from master.simulation.record import STEPS
from master.simulation.streams import streams
from master.simulation.world import Layer, make_world

MB = 10**6


def row(step: str, at: float, took_s: float | None = None, generation: int = 1) -> dict[str, Any]:
    return {"step": step, "at": at, "took_s": took_s, "generation": generation}


def test_a_start_is_told_step_by_step_from_asking_to_running() -> None:
    timeline = [
        row("requested", 100.1), row("placed", 100.5), row("preparing", 100.6), row("network", 100.8, 0.1),
        row("fetch", 103.0, 2.25), row("unpack", 104.0, 1.0), row("mount", 104.5, 3.0), row("create", 104.7, 0.1),
        row("running", 105.0),
    ]  # fmt: skip
    steps = steps_of(timeline, 100.0)
    assert steps is not None
    assert dict(zip(STEPS, steps, strict=True)) == pytest.approx(
        {"queue": 0.5, "prepare": 0.25, "transfer": 2.25, "unpack": 1.0, "files": 0.5, "launch": 0.5}
    )


def test_files_that_are_mounted_while_layers_come_cost_nothing() -> None:
    timeline = [
        row("placed", 1.0), row("fetch", 5.0, 3.5), row("unpack", 6.0, 1.0), row("mount", 2.0, 0.5),
        row("running", 7.0),
    ]  # fmt: skip
    steps = steps_of(timeline, 0.0)
    assert steps is not None
    assert (steps[STEPS.index("files")], sum(steps)) == (0.0, 7.0)


def test_of_an_instance_that_was_tried_twice_the_try_counts_that_ran() -> None:
    timeline = [
        row("placed", 1.0), row("fetch", 9.0, 8.0), row("placed", 12.0, None, 2), row("network", 12.5, 0.1, 2),
        row("running", 13.0, None, 2), row("running", 99.0, None, 2),
    ]  # fmt: skip
    steps = steps_of(timeline, 0.0)
    assert steps is not None
    assert steps[STEPS.index("transfer")] == 0.0
    assert steps[STEPS.index("queue")] == 12.0


def test_one_that_never_ran_has_no_steps() -> None:
    assert steps_of([row("placed", 1.0), row("failed", 2.0)], 0.0) is None


@pytest.mark.parametrize("name", come_along())
def test_every_experiment_that_comes_along_can_be_run_and_starts_everything(name: str) -> None:
    prepared, _ = prepare(checked(name, [], None, 0))
    said = predict(prepared, 0)
    assert said
    assert all(start is not None for start in said)


def test_an_image_lies_whole_on_every_box_that_holds_a_part_of_it(tmp_path: Path) -> None:
    scenario = checked("cold", ["pools.editor.on=[store-1]", "pools.system.on=[store-2]"], None, 0)
    prepared, stands = prepare(scenario)
    assert prepared.pools["editor"].on == ["store-1", "store-2", "store-3"]  # all share the lowest layer
    program = program_pool(stands["editor"].sample)
    assert prepared.tasks["editor"].layers[0] == program
    assert with_sizes(prepared, {program: 7}).pools[program].size_bytes == 7


def test_what_stands_for_a_task_gets_the_tasks_resources_and_is_a_manifest() -> None:
    prepared, stands = prepare(checked("warm", [], None, 0))
    world = make_world(prepared, streams(0))
    tasks = list(prepared.tasks)
    assert [stands[name].sample for name in tasks] == ["processing", "storage", "cloud-desktop"]
    for application in world.applications:
        name = tasks[application.task]
        manifest = parse_manifest(manifest_of(stands[name], application, prepared.tasks[name], "x-1"))
        service = manifest.services["task"]
        assert service.resources.cpu == prepared.tasks[name].compute
        assert service.resources.bandwidth == prepared.tasks[name].stream_bps
        assert service.image == f"experiment/{name}-0:1"
        assert (service.home is not None) == prepared.tasks[name].home
    assert set(stands["desktop"].files) == {"task", "srv/cgi-bin/stream"}


def test_a_lab_gets_the_roles_links_delays_and_rooms_of_a_scenario() -> None:
    scenario = checked("warm", ["boxes.near.access_ms=3", "lab.settings.lease=1h"], None, 0)
    arguments = up_arguments(scenario, {"store"})
    told = dict(pairwise(arguments))
    assert told["--roles"] == "compute,filestore+depository"
    assert told["--uplink"] == "200000000bit,100000000bit"
    assert told["--delay"] == "3ms,0ms"
    assert [arguments[at + 1] for at, word in enumerate(arguments) if word == "--each"] == [
        "--lent 4000000000 --cpu 2",
        "--lent 4000000000",
    ]
    assert {"copies=1", "policy=least-loaded", "lease=1h"} <= set(arguments)


def test_an_image_has_the_layers_and_files_of_the_scenario(tmp_path: Path) -> None:
    weight = weight_layer(Layer(0, "system-0", 2 * MB, 20))
    assert len(weight.data) == pytest.approx(2 * MB, rel=0.01)
    assert weight_layer(Layer(0, "system-0", 2 * MB, 20)).diff_id == weight.diff_id
    write_layout(tmp_path / "image", [program_layer("p", b"busybox", {"task": b"#!/bin/sh\n"}), weight])
    index = json.loads((tmp_path / "image/index.json").read_text())
    blobs = tmp_path / "image/blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"].partition(":")[2]).read_text())
    names = []
    for layer in manifest["layers"]:
        with (
            gzip.open(blobs / layer["digest"].partition(":")[2]) as file,
            tarfile.open(fileobj=file) as archive,  # type: ignore[arg-type]
        ):
            names.append(archive.getnames())
    assert names[0] == ["bin/busybox", "task", "bin/sh"]
    assert len(names[1]) == 20


def start(*steps_s: float, box: str = "near") -> Start:
    return Start("only", 0.0, box, tuple(steps_s))


def comparison() -> Comparison:
    """Two requests of which the simulator starts one."""
    measured = [start(1, 0, 2, 0, 0, 1), start(9, 0, 0, 0, 0, 1)]
    return Comparison("tiny", "Tiny", [start(1, 0, 1, 0, 0, 1), None], measured)


def test_a_comparison_is_of_the_requests_that_start_in_both_worlds() -> None:
    found = comparison()
    assert (found.start.name, found.start.predicted_s, found.start.measured_s) == (START, 3.0, 4.0)
    assert found.start.off == -0.25
    headers, rows = shown(found)
    assert rows[-1] == ["start", "3.000", "4.000", "-25%"]
    assert [row[0] for row in rows] == [*STEPS, START]
    assert len(headers) == 4


def test_every_step_of_every_request_is_written_for_programs_and_drawn_for_people(tmp_path: Path) -> None:
    write_csv([comparison()], tmp_path / "steps.csv")
    with (tmp_path / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (len(STEPS) + 1)
    assert (rows[2]["step"], rows[2]["predicted_s"], rows[2]["measured_s"]) == ("transfer", "1", "2")
    assert rows[-1]["predicted_s"] == ""
    pytest.importorskip("pyarrow")
    write_parquet([comparison()], tmp_path / "steps.parquet")
    assert (tmp_path / "steps.parquet").stat().st_size > 0
    pytest.importorskip("matplotlib")
    write_html([(checked("warm", [], None, 0), comparison())], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "-25%" in page
    with pytest.raises(BadInput, match="cannot be written"):
        write_csv([comparison()], tmp_path / "nowhere" / "steps.csv")


def recorded(name: str, truth: dict[str, float], settings: Sequence[str] = ()) -> Measured:
    """A run of a world in which steps cost what `truth` says."""
    scenario, _ = prepare(checked(name, settings, None, 0))
    starts = predict(with_figures(scenario, {**figures_of(scenario), **truth}), 0)
    return Measured(scenario, 0, [start for start in starts if start is not None])


def test_what_launches_cost_alone_and_side_by_side_is_learnt_and_holds_for_others(tmp_path: Path) -> None:
    head = "arrival_s,duration_s,cpu,memory_bytes,task\n"
    line = "{},30,0.25,33554432,desktop\n"
    (tmp_path / "few.csv").write_text(head + line.format(0) + 3 * line.format(40))
    few = [f"trace.file={tmp_path / 'few.csv'}"]
    truth = {"launch.wait_s": 0.3, "launch.cpu_s": 0.9}
    learnt = recorded("calibrate-surge", truth, few)
    errors: list[float] = []
    figures = learn([learnt], lambda _, found: errors.append(found), only=set(truth))
    assert errors == sorted(errors, reverse=True)
    fresh = recorded("surge", truth)
    said = predict(with_figures(fresh.scenario, figures), 0)
    assert mean(said) == pytest.approx(mean(fresh.starts), rel=0.05)
    unlearnt = predict(fresh.scenario, 0)
    assert abs(mean(unlearnt) - mean(fresh.starts)) > 4 * abs(mean(said) - mean(fresh.starts))


def mean(starts: Sequence[Start | None]) -> float:
    return sum(item.start_s for item in starts if item is not None) / len(starts)


def test_who_of_those_that_ask_together_is_served_first_teaches_nothing() -> None:
    run = recorded("surge", {})
    turned = replace(run, starts=run.starts[::-1])
    assert error([turned], figures_of(run.scenario)) == pytest.approx(0.0)


def test_what_was_learnt_is_a_part_of_a_scenario(tmp_path: Path) -> None:
    scenario = checked("warm", [], None, 0)
    path = tmp_path / "costs.yaml"
    path.write_text(as_yaml(scenario, {**figures_of(scenario), "files.cpu_s": 0.123456, "goodput": 0.9}))
    again = checked("warm", [], str(path), 0)
    assert again.cost.steps is not None
    assert (again.cost.steps.files.cpu_s, again.network.goodput) == (0.1235, 0.9)
    assert again.boxes == scenario.boxes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: warm.yaml\npeople: {lends: 0.5}", r"trace: it needs somebody"),
        ("base: warm.yaml\nlab: {samples: {storage: nothing}}", r"line 2: lab.samples.storage: there is no sample"),
        ("base: warm.yaml\ntasks:\n  storage: {data_bytes: 1GB}", r"line 2: tasks: in a lab"),
        ("base: warm.yaml\npools: {system: {on: [near, me]}}", r"line 2: pools.system.on: there is no box me"),
        ("base: warm.yaml\nservers: {count: 2}", r"line 2: servers.count: a lab has only the boxes"),
        ("base: warm.yaml\nlab: {wrong: 1}", r"line 2: lab.wrong: there is no such key"),
    ],
)  # fmt: skip
def test_what_a_lab_cannot_be_is_told_with_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    for name in ("base.yaml", "warm.yaml", "warm.csv"):
        (tmp_path / name).write_text((SCENARIOS / name).read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        checked(str(path), [], None, 0)


def test_the_simulator_runs_what_was_made_for_a_lab() -> None:
    scenario = load_scenario(str(SCENARIOS / "surge.yaml"))
    assert len(predict(scenario, 0)) == 20


def test_what_a_platform_did_is_an_experiment_once_it_is_known_what_steps_cost(tmp_path: Path) -> None:
    manifest = parse_manifest(
        {
            "openraas": 1,
            "name": "page",
            "title": "Page",
            "services": {"web": {"image": "page:1", "port": 80, "resources": {"cpu": 0.5}}},
        }
    )
    status = {
        "roles": ["compute", "depository"], "capacity": {"cpu": 2, "memory_bytes": 2**30, "bandwidth_bps": 10**8},
        "disk": {"lent_bytes": 4 * 10**9}, "coordinate": {"height_ms": 0.2}, "open": True, "fixed": True,
    }  # fmt: skip
    layer = {
        "digest": "sha256:" + "a" * 64,
        "size_bytes": 2 * MB,
        "images": ["page:1"],
        "holders": [{"box": "b-1"}],
    }
    started = [
        Started(
            "page/web", "web", "page", at, 5.0, {"unpack": 2.0, "network": 0.1, "create": 0.1, "launch": 0.3}
        )
        for at in (100.0, 103.0)
    ]
    (tmp_path / "scenario.yaml").write_text(
        scenario_yaml(
            [{"id": "b-1", "status": status, "believed": {"x_ms": 1.0, "y_ms": 0.0, "height_ms": 0.0}}],
            [layer],
            {"page": manifest},
            started,
        )
    )
    (tmp_path / "trace.csv").write_text(trace_csv(started, {"page": manifest}))
    recorded_file = str(tmp_path / "scenario.yaml")
    assert load_scenario(recorded_file).cost.launch_s == pytest.approx(2.5)  # what a box does by itself
    with pytest.raises(BadInput, match=r"cost.steps: without what the steps cost"):
        checked(recorded_file, [], None, 0)
    (tmp_path / "costs.yaml").write_text(as_yaml(warm := checked("warm", [], None, 0), figures_of(warm)))
    prepared, stands = prepare(checked(recorded_file, [], str(tmp_path / "costs.yaml"), 0))
    said = predict(prepared, 0)
    assert [start.asked_s for start in said if start is not None] == [0.0, 3.0]
    (application,) = make_world(prepared, streams(0)).applications
    manifest = parse_manifest(manifest_of(stands["page/web"], application, prepared.tasks["page/web"]))
    assert manifest.name == "page-web-0"
