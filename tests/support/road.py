"""The road of a request on the master, as tests walk it: boxes are fakes that report what the test says."""

from __future__ import annotations

from common.reports import (
    Preparing,
    Report,
    Running,
)
from common.wishes import ComputeWish
from common.words import Endpoint
from master.context import MasterContext
from master.deployments.models import Deployment, Instance
from master.lifecycle.reports import Reports
from tests.support.master import (
    FakeBox,
)
from tests.support.scheduling import place_now

SSH = Endpoint(host="127.0.0.1", port=2222)


def state(master: MasterContext, deployment: Deployment) -> str:
    """The state of a deployment's only instance."""
    with master.database.read() as session:
        return session.get_one(Instance, deployment.instances[0].id).state


def tell(master: MasterContext, box: FakeBox, *reports: Report) -> list[bool]:
    """Let a box report."""
    taker = Reports(master)
    return [taker.take(box.name, report.model_dump_json()) for report in reports]


def compute_wish(box: FakeBox, instance: str) -> ComputeWish:
    """What the box is to do with an instance."""
    wish = box.wishes()[f"compute/{instance}"]
    assert isinstance(wish, ComputeWish)
    return wish


def start(master: MasterContext, box: FakeBox, deployment: Deployment) -> Instance:
    """Place a deployment and let the box report it as running."""
    instance = deployment.instances[0]
    assert place_now(master, instance.id, instance.generation) == "placed"
    about = {"subject": instance.id, "generation": instance.generation}
    assert tell(master, box, Preparing(**about), Running(**about)) == [True, True]
    return instance
