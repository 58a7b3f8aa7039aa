"""Labs for tests. A lab that a test leaves behind is removed here, and reported."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import applications
from tests.lab.fleets import running
from tests.lab.portal import Portal
from tests.support import oci_image
from workers.lab import build, remains
from workers.lab.fleet import Lab


@pytest.fixture(scope="session", autouse=True)
def _root() -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("a lab needs root")
    # A run that is ended from outside (timeout(1), CI) takes its labs down too.
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, former)


@pytest.fixture
def lab_id() -> Iterator[str]:
    """A name for a lab of one test; whatever is left of it goes afterwards."""
    name = f"t{secrets.token_hex(2)}"
    yield name
    if name in remains.labs():
        build.down(name)


ROLES = ("compute", "filestore", "depository", "depository")


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for what the tests make once."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A master and four boxes: compute, filestore and two depositories, each link 100 Mbit/s."""
    with running(ROLES) as made:
        yield made


@pytest.fixture(scope="session")
def portal(lab: Lab, scratch: Path) -> Portal:
    """The lab's master, with an image on both depositories, a fileset and the applications published."""
    master = Portal(lab)
    layout = scratch / "image"
    oci_image.web_image(layout)
    for box in lab.state.boxes[2:]:
        applications.push(master, layout, box, f"{applications.REPOSITORY}:1", scratch)
    applications.put_pages(master, scratch)
    applications.publish(master, applications.SITE)
    return master
