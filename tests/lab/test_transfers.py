"""An image on its way to a box is seen by everybody, from the box's own words to the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import applications
from tests.lab.fleets import running
from tests.lab.portal import Portal
from tests.support import oci_image
from tests.support.redis import wait_until
from workers.lab.plan import Link

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.long]

IMAGE = f"{applications.REPOSITORY}:1"
SLOW_BPS = 6_000_000
LAYER_BYTES = 3_000_000
SEEN_S = 120.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A compute box and two depositories on slow links, which both hold the image."""
    scratch: Path = tmp_path_factory.mktemp("transfers")
    roles = ("compute+filestore", "depository", "depository")
    with running(roles, Link(uplink_bps=SLOW_BPS, downlink_bps=SLOW_BPS)) as lab:
        portal = Portal(lab)
        oci_image.web_image(scratch / "image", layers=2, layer_bytes=LAYER_BYTES)
        for box in lab.state.boxes[1:]:
            applications.push(portal, scratch / "image", box, IMAGE, scratch)
        applications.put_pages(portal, scratch)
        applications.publish(portal, applications.SITE)
        yield portal


def test_a_running_transfer_shows_every_source_with_its_rate_until_it_is_over(fleet: Portal) -> None:
    compute, *depositories = (box.name for box in fleet.lab.state.boxes)
    seen: list[dict[str, Any]] = []

    def shows_rates() -> bool:
        found = fleet.call("GET", "/layers/transfers")["transfers"]
        seen.extend(item for item in found if item["box"] == compute and item["image"] == IMAGE)
        return any(source["rate_bps"] > 0 for item in seen for source in item["sources"])

    deployment = fleet.start("lab-site")
    try:
        wait_until(shows_rates, SEEN_S, "a rate")
        told = json.loads(fleet.verb("layer", "transfers", "--json"))
        assert {source["box"] for item in seen for source in item["sources"]} == set(depositories)
        assert all(item["done_bytes"] <= item["size_bytes"] for item in [*seen, *told])
        assert seen[0]["size_bytes"] > 2 * LAYER_BYTES
        fleet.wait(deployment, "running")
        wait_until(
            lambda: fleet.call("GET", "/layers/transfers")["transfers"] == [], SEEN_S, "the end of the record"
        )
    finally:
        fleet.stop(deployment)
