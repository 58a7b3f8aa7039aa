"""Leases: extended by people and by use, warned of, ended for lack of use, and kept by operators."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from common.errors import Conflict, Forbidden, NotFound
from common.reports import Activity
from common.words import Role
from master.context import MasterContext
from master.deployments.lease_services import extend_lease, keep
from master.deployments.models import Deployment, Instance
from master.deployments.services import request_deployment
from master.lifecycle.reconcile import Reconciler
from tests.support.master import (
    GIB,
    FakeBox,
    add_application,
    add_image,
    add_user,
    image_digests,
    make_master,
)
from tests.support.redis import RedisServer
from tests.support.road import compute_wish, start, state, tell

HOUR = 3600.0


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    """A master with an empty database."""
    return make_master(
        tmp_path, redis_server.url, home_limit_bytes=GIB, lease_s=HOUR, lease_max_s=3 * HOUR,
        lease_by_use_s=HOUR, idle_stop_s=600.0,
    )  # fmt: skip


@pytest.fixture
def box(master: MasterContext) -> FakeBox:
    """A box that can run the application `site`."""
    made = FakeBox(master, "box-1", roles=frozenset({Role.COMPUTE, Role.DEPOSITORY}))
    made.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    return made


def running(master: MasterContext, box: FakeBox, name: str = "ada") -> Deployment:
    deployment = request_deployment(master, add_user(master, name), "site", {})
    start(master, box, deployment)
    return deployment


def row(master: MasterContext, deployment: Deployment) -> Deployment:
    with master.database.read() as session:
        return session.get_one(Deployment, deployment.id)


def change(master: MasterContext, deployment: Deployment, **values: float) -> None:
    with master.database.write() as session:
        found = session.get_one(Deployment, deployment.id)
        for name, value in values.items():
            setattr(found, name, value)
        for instance in found.instances:
            instance.state_at = min(instance.state_at, values.get("begun_at", instance.state_at))


def steps(master: MasterContext, deployment: Deployment) -> list[str]:
    with master.database.read() as session:
        return [item.step for item in session.get_one(Instance, deployment.instances[0].id).timeline]


def used(master: MasterContext, box: FakeBox, deployment: Deployment, idle_s: float) -> None:
    idle = {deployment.instances[0].id: idle_s}
    assert tell(master, box, Activity(subject="box", generation=0, idle_s=idle)) == [True]


def test_a_lease_is_extended_by_its_length_up_to_its_limit_and_the_box_hears_of_it(
    master: MasterContext, box: FakeBox
) -> None:
    deployment = running(master, box)
    first = row(master, deployment).lease_end
    user = deployment.user
    extend_lease(master, user, deployment.id)
    assert row(master, deployment).lease_end == pytest.approx(first + HOUR, abs=1)
    wish = compute_wish(box, deployment.instances[0].id)
    assert wish.lease_end == row(master, deployment).lease_end
    extend_lease(master, user, deployment.id, 10 * HOUR)
    assert row(master, deployment).lease_end == pytest.approx(first + 2 * HOUR, abs=1)
    with pytest.raises(Conflict, match="as long as it may be"):
        extend_lease(master, user, deployment.id)
    with pytest.raises(NotFound):
        extend_lease(master, add_user(master, "eve"), deployment.id)
    assert steps(master, deployment).count("extended") == 2


def test_use_extends_a_lease(master: MasterContext, box: FakeBox) -> None:
    deployment = running(master, box)
    change(master, deployment, lease_end=time.time() + 60)
    used(master, box, deployment, 5.0)
    assert row(master, deployment).lease_end == pytest.approx(time.time() + HOUR, abs=30)
    version = compute_wish(box, deployment.instances[0].id).version
    used(master, box, deployment, 0.0)
    assert compute_wish(box, deployment.instances[0].id).version == version, "a second changes nothing"


def test_use_extends_no_lease_beyond_its_limit(master: MasterContext, box: FakeBox) -> None:
    deployment = running(master, box)
    now = time.time()
    change(master, deployment, begun_at=now - 3 * HOUR + 120, lease_end=now + 60)
    used(master, box, deployment, 0.0)
    assert row(master, deployment).lease_end == pytest.approx(now + 120, abs=10)


def test_what_nobody_uses_ends_and_the_timeline_says_why(master: MasterContext, box: FakeBox) -> None:
    deployment = running(master, box)
    used(master, box, deployment, 599.0)
    assert state(master, deployment) == "running", "it has not run for so long"
    change(master, deployment, begun_at=time.time() - 1000, used_at=time.time() - 1000)
    used(master, box, deployment, 599.0)
    assert state(master, deployment) == "running"
    change(master, deployment, used_at=time.time() - 1000)
    used(master, box, deployment, 660.0)
    assert state(master, deployment) == "stopping"
    assert compute_wish(box, deployment.instances[0].id).wanted == "stopped"
    with master.database.read() as session:
        last = session.get_one(Instance, deployment.instances[0].id).timeline[-1]
    assert last.detail == "Nobody used it for 11 minutes; its files are kept."


def test_another_box_says_nothing_of_what_does_not_run_there(master: MasterContext, box: FakeBox) -> None:
    deployment = running(master, box)
    other = FakeBox(master, "box-2")
    idle = {deployment.instances[0].id: 0.0}
    assert tell(master, other, Activity(subject="box", generation=0, idle_s=idle)) == [False]
    assert row(master, deployment).used_at is None


def test_a_person_is_told_once_before_each_end(master: MasterContext, box: FakeBox) -> None:
    deployment = running(master, box)
    Reconciler(master).run()
    assert "ending" not in steps(master, deployment)
    change(master, deployment, lease_end=time.time() + 300)
    Reconciler(master).run()
    Reconciler(master).run()
    assert steps(master, deployment).count("ending") == 1
    extend_lease(master, deployment.user, deployment.id)
    assert row(master, deployment).warned_for != row(master, deployment).lease_end
    change(master, deployment, lease_end=time.time() + 200)
    Reconciler(master).run()
    assert steps(master, deployment).count("ending") == 2


def test_an_operator_keeps_what_would_end(master: MasterContext, box: FakeBox) -> None:
    operator = add_user(master, "op", "operator")
    deployment = running(master, box)
    keep(master, operator, deployment.id, is_kept=True)
    change(master, deployment, begun_at=time.time() - 9 * HOUR, used_at=time.time() - 9 * HOUR)
    used(master, box, deployment, 9 * HOUR)
    Reconciler(master).run()
    assert state(master, deployment) == "running"
    keep(master, operator, deployment.id, is_kept=False)
    assert row(master, deployment).lease_end == pytest.approx(time.time() + HOUR, abs=30)
    user = add_user(master, "bob")
    with pytest.raises(Forbidden, match="Only operators keep"):
        request_deployment(master, user, "site", {}, keep=True)
    kept = request_deployment(master, operator, "site", {}, keep=True)
    assert kept.lease_end > time.time() + 1000 * HOUR
