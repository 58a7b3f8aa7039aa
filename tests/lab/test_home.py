"""A person's home on two compute boxes: it follows the person, and one of them writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import applications
from tests.lab.fleets import running
from tests.lab.portal import Portal
from tests.support import oci_image
from workers.lab.fleet import Lab

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.long]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """Two compute boxes, and one that holds files and layers."""
    scratch: Path = tmp_path_factory.mktemp("home")
    with running(("compute", "compute", "filestore+depository")) as lab:
        portal = Portal(lab)
        oci_image.web_image(scratch / "image", layers=1, layer_bytes=100_000)
        applications.push(
            portal, scratch / "image", lab.state.boxes[2], f"{applications.REPOSITORY}:1", scratch
        )
        applications.publish(portal, applications.DIARY)
        yield portal


def boxes(lab: Lab) -> tuple[str, str]:
    first, second, *_ = lab.state.boxes
    return first.name, second.name


def run_on(portal: Portal, person: Portal, box: str) -> str:
    """Start the diary on a box by closing the other one to new instances; returns the deployment."""
    for name in boxes(portal.lab):
        portal.call("POST", f"/boxes/{name}/cordon", {"cordoned": name != box})
    deployment = person.start("lab-diary")
    assert person.wait(deployment, "running")["box"] == box
    return deployment


def diary(person: Portal, deployment: str) -> list[str]:
    """Who wrote into the home, the first first."""
    page = person.open(deployment).get("/diary.txt")
    assert page.status_code == 200
    return page.text.split("\n")[:-1]


def test_a_home_follows_the_person_from_box_to_box(two: Portal) -> None:
    first, second = boxes(two.lab)
    person = two.someone("ada")
    deployment = run_on(two, person, first)
    before = diary(person, deployment)
    person.stop(deployment)
    deployment = run_on(two, person, second)
    after = diary(person, deployment)
    person.stop(deployment)

    assert len(before) == 1
    assert after[:1] == before
    assert len(after) == 2


def test_while_one_box_writes_a_home_another_one_may_only_read_it(two: Portal) -> None:
    first, second = boxes(two.lab)
    person = two.someone("grace")
    writer = run_on(two, person, first)
    reader = run_on(two, person, second)
    try:
        modes = {
            box: two.call("GET", f"/deployments/{deployment}")["instances"][0]["mounts"][0]["mode"]
            for box, deployment in ((first, writer), (second, reader))
        }
        lines = diary(person, reader)
    finally:
        person.stop(reader)
        person.stop(writer)

    assert modes == {first: "rw", second: "ro"}
    # The second asked to write as well: nothing of it arrived.
    assert len(lines) == 1


def test_one_person_does_not_see_the_home_of_another(two: Portal) -> None:
    first, _ = boxes(two.lab)
    ada, alan = two.someone("ida"), two.someone("alan")
    of_ada = run_on(two, ada, first)
    of_alan = run_on(two, alan, first)
    try:
        lines = diary(alan, of_alan)
        stranger = two.http.get(
            f"/api/v1/deployments/{of_ada}", headers={"Authorization": alan.http.headers["Authorization"]}
        )
    finally:
        ada.stop(of_ada)
        alan.stop(of_alan)

    assert len(lines) == 1
    assert stranger.status_code == 404
