"""What a fault left apart is brought together again: lost boxes, a wiped Redis, wish lists, leases."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from common.names import EPOCH, EPOCH_READY
from common.words import Resources
from master.context import MasterContext
from master.deployments.models import Deployment
from master.deployments.services import request_deployment
from master.lifecycle.reconcile import Reconciler
from master.scheduler.reservations import Reservations
from master.scheduler.service import Scheduler
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
from tests.support.road import compute_wish, start, state
from tests.support.scheduling import place_now


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    """A master with an empty database."""
    return make_master(tmp_path, redis_server.url, lost_after_s=0.0, home_limit_bytes=GIB)


def test_what_a_lost_box_ran_is_placed_anew_elsewhere(master: MasterContext) -> None:
    box, other = FakeBox(master, "box-1"), FakeBox(master, "box-2")
    digests = image_digests(add_image(master, "site:1"))
    box.hold(digests)
    other.hold(digests)
    add_application(master, "site", "site:1")
    instance = start(master, box, request_deployment(master, add_user(master), "site", {}))
    box.go_silent()
    reconciler = Reconciler(master)
    reconciler.run()
    time.sleep(0.01)  # lost_after_s is zero: any later round finds it lost
    reconciler.run()
    Scheduler(master).place_waiting()
    assert compute_wish(other, instance.id).generation == 2
    assert box.wishes() == {}


def test_a_wiped_redis_is_rebuilt_from_sql_before_anything_is_placed(master: MasterContext) -> None:
    box = FakeBox(master, "box-1", capacity=Resources(cpu=1, memory_bytes=GIB))
    digests = image_digests(add_image(master, "site:1"))
    box.hold(digests)
    add_application(master, "site", "site:1")
    user = add_user(master)
    instance = start(master, box, request_deployment(master, user, "site", {}))
    waiting = request_deployment(master, user, "site", {})
    master.redis.flushall()
    box.hold(digests)
    master.redis.sadd("boxes", box.name)
    assert place_now(master, waiting.instances[0].id, 1) == "queued"
    Reconciler(master).run()
    assert master.redis.get(EPOCH) == master.redis.get(EPOCH_READY)
    assert compute_wish(box, instance.id).wanted == "running"
    assert [item.instance for item in Reservations(master.redis).of("box-1")] == [instance.id]
    assert place_now(master, waiting.instances[0].id, 1) == "queued"


def test_what_the_wish_list_lacks_or_has_too_much_is_mended(master: MasterContext) -> None:
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    instance = start(master, box, request_deployment(master, add_user(master), "site", {}))
    listed = master.redis.hgetall("wish:box-1")
    master.redis.hdel("wish:box-1", f"compute/{instance.id}")
    master.redis.hset("wish:box-1", "compute/i-nobody", next(iter(listed.values())))
    Reconciler(master).run()
    assert set(box.wishes()) == set(listed)


def test_a_lease_that_has_ended_stops_the_deployment(master: MasterContext) -> None:
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    deployment = request_deployment(master, add_user(master), "site", {})
    start(master, box, deployment)
    with master.database.write() as session:
        session.get_one(Deployment, deployment.id).lease_end = time.time() - 1
    Reconciler(master).run()
    assert state(master, deployment) == "stopping"
