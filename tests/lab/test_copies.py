"""Boxes are lost, and what lay on them is still there: two copies of images and filesets, and no last one goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import applications
from tests.lab.fleets import running
from tests.lab.portal import Portal
from tests.support import oci_image
from tests.support.redis import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.long]

IMAGE = f"{applications.REPOSITORY}:1"
STORE = "filestore+depository"
# A push, or a box that is gone, is waited for a minute; then the copy has to travel.
COPIED_S = 180.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A compute box and three stores; image and fileset lie on one of these only."""
    scratch: Path = tmp_path_factory.mktemp("copies")
    with running(("compute", STORE, STORE, STORE)) as lab:
        portal = Portal(lab)
        oci_image.web_image(scratch / "image", layers=2, layer_bytes=500_000)
        applications.push(portal, scratch / "image", lab.state.boxes[1], IMAGE, scratch)
        applications.put_pages(portal, scratch)
        applications.publish(portal, applications.SITE)
        yield portal


def held_by(portal: Portal) -> list[set[str]]:
    """For each layer of the image, the boxes that are up and hold it."""
    layers: list[dict[str, Any]] = portal.call("GET", "/layers")["layers"]
    return [{holder["box"] for holder in layer["holders"]} for layer in layers if IMAGE in layer["images"]]


def stores_up(portal: Portal) -> set[str]:
    names = {node.name for node in portal.lab.state.boxes[1:]}
    return {box["id"] for box in portal.call("GET", "/boxes")["boxes"] if box["up"] and box["id"] in names}


def two_copies(portal: Portal) -> bool:
    """Whether two stores that are up hold everything."""
    up = stores_up(portal)
    (pages,) = [item for item in portal.call("GET", "/filesets")["filesets"] if item["name"] == "lab-pages"]
    layers = held_by(portal)
    return (
        len(up & set(pages["boxes"])) >= 2 and bool(layers) and all(len(boxes & up) >= 2 for boxes in layers)
    )


def test_copies_are_made_and_made_again_when_a_box_is_lost_until_the_last_which_does_not_go(
    fleet: Portal,
) -> None:
    lab, stores = fleet.lab, [node.name for node in fleet.lab.state.boxes[1:]]
    wait_until(lambda: two_copies(fleet), COPIED_S, "two copies of what was put on one box")

    lab.kill(stores[0])
    wait_until(lambda: stores_up(fleet) == set(stores[1:]), COPIED_S, f"{stores[0]} missed")
    deployment = fleet.start("lab-site")
    fleet.wait(deployment, "running")
    assert fleet.open(deployment).get(f"/{applications.FILE}").text == applications.TEXT
    fleet.stop(deployment)
    wait_until(lambda: two_copies(fleet), COPIED_S, "two copies again")

    lab.kill(stores[1])
    wait_until(lambda: stores_up(fleet) == {stores[2]}, COPIED_S, f"{stores[1]} missed")
    deployment = fleet.start("lab-site")  # from the store to which nobody put anything
    fleet.wait(deployment, "running")
    assert fleet.open(deployment).get(f"/{applications.FILE}").text == applications.TEXT
    fleet.stop(deployment)

    refused = fleet.call("POST", "/layers/evict", {"name": IMAGE, "box": stores[2]}, expect=409)
    assert "there should be 2" in refused["message"]
    assert all(stores[2] in boxes for boxes in held_by(fleet))
