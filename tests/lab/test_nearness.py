"""Three boxes at unequal distances find their places by themselves, and people get the one that is near them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.words import Coordinate, distance_ms
from master.nearness.map import Map, parse_map
from tests.lab import applications
from tests.lab.fleets import running
from tests.lab.portal import Portal
from tests.support import oci_image
from tests.support.redis import wait_until
from workers.lab.commands import OPENRAAS
from workers.lab.fleet import Lab
from workers.lab.master import Master

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.long]

NEAR_MS, MIDDLE_MS, FAR_MS = 2.0, 15.0, 60.0
MAP_S = 90.0
PAGE: dict[str, object] = {
    "openraas": 1,
    "name": "lab-page",
    "title": "Lab page",
    "services": {
        "web": {
            "image": f"{applications.REPOSITORY}:1",
            "command": ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/bin"],
            "resources": {"cpu": 0.1, "memory": "64MiB", "disk": "64MiB"},
            "port": 8080,
        }
    },
}


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A box near the master, a depository further off, and a box far away; nobody types in where they are."""
    options = tmp_path_factory.mktemp("options") / "box.toml"
    options.write_text('probe_every_s = "1s"\n')
    roles = ("compute+filestore", "depository", "compute+filestore")
    with running(
        roles,
        delays_ms=(NEAR_MS, MIDDLE_MS, FAR_MS),
        box_options=("--config", str(options)),
        settings={"policy": "nearest", "survey_every_s": "1s"},
    ) as made:
        yield made


@pytest.fixture(scope="module")
def portal(scattered: Lab, tmp_path_factory: pytest.TempPathFactory) -> Portal:
    """The lab's master, with an application that either compute box can run."""
    master, scratch = Portal(scattered), tmp_path_factory.mktemp("scattered")
    layout = scratch / "image"
    oci_image.web_image(layout)
    applications.push(master, layout, scattered.state.boxes[1], f"{applications.REPOSITORY}:1", scratch)
    applications.publish(master, PAGE)
    return master


def drawn(portal: Portal) -> Map:
    """The map as it lies in Redis."""
    client = portal.redis()
    try:
        return parse_map(client.hgetall("places"))
    finally:
        client.close()


def place(portal: Portal, box: str) -> Coordinate:
    return drawn(portal).places[box].place


def fits(portal: Portal) -> bool:
    """Whether the map tells all three round trips to within a third."""
    boxes = [box.name for box in portal.lab.state.boxes]
    if set(drawn(portal).places) != set(boxes):
        return False
    near, middle, far = (place(portal, box) for box in boxes)
    real = {(0, 1): NEAR_MS + MIDDLE_MS, (0, 2): NEAR_MS + FAR_MS, (1, 2): MIDDLE_MS + FAR_MS}
    places = (near, middle, far)
    return all(
        abs(distance_ms(places[one], places[other]) - ms) <= ms / 3 for (one, other), ms in real.items()
    )


@pytest.fixture(scope="module")
def settled(portal: Portal) -> Portal:
    """The same once the boxes have found their places."""
    wait_until(lambda: fits(portal), MAP_S, "a map that fits the links")
    return portal


def run_on(lab: Lab, node: str | None, portal: Portal) -> dict[str, object]:
    """`openraas run` by a person who sits at a box, or at this machine; gives the instance once it is placed."""
    argv = [*OPENRAAS, "run", "lab-page", "--no-wait", "--json"]
    done = subprocess.run(
        lab.inside(lab.state.find(node), argv) if node else argv,
        env=Master(lab.state).environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    deployment = json.loads(done.stdout)["id"]
    instance = portal.wait(deployment, "placed", "preparing", "running")
    portal.stop(deployment)
    return instance


def test_boxes_find_their_places_and_the_page_shows_how_far_they_are(settled: Portal) -> None:
    near, _, far = settled.lab.state.boxes
    status = settled.call("GET", f"/boxes/{far.name}")["status"]
    assert status["coordinate_error"] < 0.5
    assert status["master_ms"] >= FAR_MS
    assert status["round_trips_ms"][near.name] >= NEAR_MS + FAR_MS


def test_the_same_wish_runs_at_whichever_box_is_near_the_person(scattered: Lab, settled: Portal) -> None:
    near, _, far = (box.name for box in scattered.state.boxes)
    here = run_on(scattered, None, settled)
    assert here["box"] == near
    there = run_on(scattered, far, settled)
    assert there["box"] == far
    assert str(there["reason"]).startswith(f"{far} is the nearest to you (")
    assert isinstance(there["measured_ms"], float)
    assert there["measured_ms"] < NEAR_MS
    assert run_on(scattered, near, settled)["box"] == near


def test_who_measures_nothing_is_taken_to_be_where_that_network_was_last(
    scattered: Lab, settled: Portal
) -> None:
    near = scattered.state.boxes[0].name
    assert run_on(scattered, None, settled)["box"] == near
    deployment = settled.start("lab-page")
    instance = settled.wait(deployment, "placed", "preparing", "running")
    settled.stop(deployment)
    assert instance["box"] == near
    assert instance["measured_ms"] is None
    assert "nobody has measured" not in instance["reason"]


def test_a_box_that_says_it_is_near_everybody_is_taken_for_what_the_others_measured(
    scattered: Lab, settled: Portal, tmp_path: Path
) -> None:
    near, middle, far = (box.name for box in scattered.state.boxes)
    scattered.cut(far)
    try:
        client = settled.redis()
        status = json.loads(str(client.get(f"status:{near}")))
        lie = {
            **status,
            "box": far,
            "coordinate": {"x_ms": 0, "y_ms": 0, "height_ms": 0},
            "coordinate_error": 0.02,
            "round_trips_ms": {near: 0.3, middle: 0.3},
        }

        def lied_in_vain() -> bool:
            client.set(f"status:{far}", json.dumps(lie), ex=15)
            return far not in drawn(settled).places

        wait_until(lied_in_vain, MAP_S, "a map without the liar")
        client.close()
    finally:
        scattered.heal(far)
