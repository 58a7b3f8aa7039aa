"""What ran on a platform, exported and replayed."""

from __future__ import annotations

import time

from common.reports import Preparing, Running, StepDone, Stopped
from common.words import Resources, Role
from master.boxes.models import Box
from master.boxes.services import cordon
from master.deployments.services import request_deployment
from master.lifecycle.reports import Reports
from master.simulation.loading import load_scenario
from master.simulation.record import Outcome
from tests.support.cli import World
from tests.support.master import GIB, FakeBox, add_application, add_image, add_user, image_digests
from tests.support.scheduling import place_now
from tests.support.simulation import column, run


def test_what_ran_on_a_platform_replays_in_the_simulator(world: World) -> None:
    master = world.context
    holder = FakeBox(master, "holder", roles=frozenset({Role.DEPOSITORY}))
    holder.hold(image_digests(add_image(master, "site:1")))
    box = FakeBox(master, "runner", capacity=Resources(cpu=2, memory_bytes=4 * GIB, bandwidth_bps=10**8))
    add_application(master, "site", "site:1")
    directory = world.directory / "recorded"
    assert "has ever run here" in world.operator.fails(2, "trace", "export", str(directory))
    began = time.time()
    for number in range(2):
        deployment = request_deployment(master, add_user(master, f"user-{number}"), "site", {})
        instance = deployment.instances[0]
        assert place_now(master, instance.id, 1) == "placed"
        about = {"subject": instance.id, "generation": 1}
        reports = [
            Preparing(**about),
            StepDone(**about, step="launch", took_s=0.25),
            StepDone(**about, step="ready", took_s=0.5),
            Running(**about, at=began + 10 * number),
            Stopped(**about, at=began + 10 * number + 30, exit_code=0),
        ]
        assert all(Reports(master).take(box.name, report.model_dump_json()) for report in reports)
    with master.database.write() as session:  # there is no room for the third
        cordon(session, master.redis, session.get_one(Box, "runner"), True)
    waiting = request_deployment(master, add_user(master, "user-3"), "site", {}).instances[0]
    assert place_now(master, waiting.id, 1) == "queued"
    assert "openraas simulate" in world.operator.ok("trace", "export", str(directory))

    scenario = load_scenario(str(directory / "scenario.yaml"))
    assert {"holder", "runner"} <= set(scenario.boxes)
    assert scenario.boxes["runner"].compute.mean == 2
    assert scenario.boxes["holder"].open == 0
    assert scenario.cost.launch_s == 0.75
    assert sorted(scenario.pools[name].size_bytes for name in scenario.tasks["site/main"].layers) == [
        500, 1000, 5_000_000, 10_000_000
    ]  # fmt: skip
    result = run(scenario)
    assert column(result, "outcome").tolist()[:2] == [Outcome.STARTED] * 2
    lines = (directory / "trace.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["30.0", "30.0", "30.0"], "who waited counts too"
    runner = 1 + list(scenario.boxes).index("runner")
    assert set(column(result, "box")[:2]) == {runner}
    first, second = column(result, "layers_s")[:2]
    assert first > 1.2 > second  # 15 MB over 100 Mbit/s, and then they are there


def test_a_trace_is_an_operators_to_export(world: World) -> None:
    directory = world.directory / "recorded"
    person = world.shell()
    assert "openraas login" in person.fails(1, "trace", "export", str(directory))
    assert not directory.exists()
