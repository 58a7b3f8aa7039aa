"""The main job on four boxes: from POST to the bytes of a mounted file in the browser, and back to nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.names import layers_key
from common.oci.chunks import CHUNK_BYTES
from tests.lab import applications
from tests.lab.portal import Portal, box_dir, mounts_on, on_node, processes_on
from tests.support import oci_image
from tests.support.redis import wait_until
from workers.lab import engine
from workers.lab.fleet import Lab

pytestmark = [pytest.mark.lab, pytest.mark.engine]

GONE_S = 30.0
SHARED_S = 60.0
# So large that a depository which answers seconds after the other still comes in time for its share.
FRESH_LAYERS = 6


@pytest.fixture
def site(portal: Portal) -> Iterator[tuple[str, dict[str, Any]]]:
    """A running deployment of the site, and its instance."""
    deployment = portal.start("lab-site")
    yield deployment, portal.wait(deployment, "running")
    portal.stop(deployment)


def is_shared(lab: Lab, portal: Portal, repository: str) -> bool:
    """Whether the next placement names both depositories for every blob, each for parts of it.

    For that the fleet must know of both that they hold it, and two boxes must agree on its chunks: until then a blob
    comes from one source at a time.
    """
    with closing(sqlite3.connect(portal.state_dir / "openraas.db")) as database:
        named = "SELECT blobs FROM images JOIN tags USING (digest) WHERE repository = ?"
        blobs = json.loads(database.execute(named, (repository,)).fetchone()[0])
        confirmed = database.execute(
            "SELECT digest FROM blob_chunks WHERE confirmed_by IS NOT NULL"
        ).fetchall()
    digests = {blob["digest"] for blob in blobs}
    with closing(portal.redis()) as client:
        held = [client.smembers(layers_key(box.name)) for box in lab.state.boxes[2:]]
    return digests <= {digest for (digest,) in confirmed} and all(digests <= layers for layers in held)


@pytest.fixture
def fresh(lab: Lab, portal: Portal, scratch: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A running deployment of an image that no compute box has ever had, and its instance."""
    layout = scratch / "fresh"
    oci_image.web_image(layout, layers=FRESH_LAYERS)
    for box in lab.state.boxes[2:]:
        applications.push(portal, layout, box, "lab/fresh:1", scratch)
    wait_until(lambda: is_shared(lab, portal, "lab/fresh"), SHARED_S, "two depositories for every blob")
    service = {**applications.SITE["services"]["web"], "image": "lab/fresh:1"}
    applications.publish(portal, {**applications.SITE, "name": "lab-fresh", "services": {"web": service}})
    deployment = portal.start("lab-fresh")
    yield deployment, portal.wait(deployment, "running")
    portal.stop(deployment)


def test_a_request_ends_in_the_bytes_of_a_file_that_came_from_another_box(
    lab: Lab, portal: Portal, fresh: tuple[str, dict[str, Any]]
) -> None:
    compute, filestore, *depositories = (box.name for box in lab.state.boxes)
    deployment, instance = fresh
    browser = portal.open(deployment)

    assert browser.entered.status_code in (302, 303)
    page = browser.get(f"/{applications.FILE}")

    assert (page.status_code, page.text) == (200, applications.TEXT)
    assert instance["box"] == compute
    assert [mount["filestore"] for mount in instance["mounts"]] == [filestore]
    # The compute box may hold a layer of another test's image; then it is named as well, but sends nothing.
    assert set(depositories) <= set(instance["depositories"])
    fetched = [row for row in instance["timeline"] if row["step"] == "fetch"][-1]
    # Both links carried ranges of what nobody can compress; how many each, is a matter of speed.
    assert sorted(fetched["sources"]) == sorted(depositories)
    assert min(fetched["sources"].values()) > CHUNK_BYTES / 2
    assert sum(fetched["sources"].values()) == pytest.approx(fetched["size_bytes"], rel=0.01)


def test_without_the_cookie_the_gateway_shows_nothing(
    portal: Portal, site: tuple[str, dict[str, Any]]
) -> None:
    browser = portal.open(site[0])

    assert browser.get(f"/{applications.FILE}", with_cookie=False).status_code in (401, 403)


def test_after_stop_nothing_is_left_on_any_box_nor_in_redis(lab: Lab, portal: Portal) -> None:
    compute, filestore = (lab.state.boxes[number].name for number in (0, 1))
    before = facts(lab, portal)
    deployment = portal.start("lab-site")
    instance = portal.wait(deployment, "running")
    during = facts(lab, portal)
    assert during != before
    assert instance["id"] in json.dumps(during)

    portal.stop(deployment)

    wait_until(lambda: facts(lab, portal) == before, GONE_S, f"{facts(lab, portal)} == {before}")
    assert instance["id"] not in json.dumps(facts(lab, portal))
    assert not [line for line in processes_on(lab, filestore) if "sftp-server" in line]
    assert not [line for line in processes_on(lab, compute) if line.startswith("sshfs")]


def facts(lab: Lab, portal: Portal) -> dict[str, list[str]]:
    """What there is, by those who must know: the engine, the kernel, the file systems, Redis."""
    compute, filestore = lab.state.boxes[0], lab.state.boxes[1]
    docker = ("docker", "--host", f"unix://{engine.socket_path(lab.state, compute)}")
    client = portal.redis()
    found = {
        "containers": on_node(lab, compute.name, *docker, "ps", "--all", "--format", "{{.Names}}").split(),
        "networks": used_networks(lab, compute.name, docker),
        "mounts": [point for point in mounts_on(lab, compute.name) if str(box_dir(lab, compute.name)) in point],
        "keys": files(box_dir(lab, compute.name) / "keys"),
        "exports": files(box_dir(lab, filestore.name) / "exports"),
        "export mounts": [
            point for point in mounts_on(lab, filestore.name) if str(box_dir(lab, filestore.name)) in point
        ],
        "reservations": [
            f"{key}/{field}" for key in client.scan_iter("reserved*") if client.type(key) == "hash"
            for field in client.hkeys(key)
        ],
        "wishes": [
            f"{key}/{field}" for key in client.scan_iter("wish:*") for field in client.hkeys(key)
            if not field.startswith(("filestore/fileset.", "depository/image."))
        ],
    }  # fmt: skip
    client.close()
    return {name: sorted(values) for name, values in found.items()}


def used_networks(lab: Lab, name: str, docker: tuple[str, ...]) -> list[str]:
    """Networks with a container in them: a small pool of empty ones may be kept."""
    ids = on_node(lab, name, *docker, "network", "ls", "--quiet").split()
    template = "{{if .Containers}}{{.Name}}{{end}}"
    return on_node(lab, name, *docker, "network", "inspect", "--format", template, *ids).split()


def files(directory: Path) -> list[str]:
    """All files below a directory."""
    return [str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()]
