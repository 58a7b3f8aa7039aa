"""The life of a request on the master: SQL, Redis, wishes and reports, with boxes that are only records."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from common.errors import NotFound, Unavailable
from common.names import reserved_key, wish_key
from common.reports import (
    Ended,
    Exported,
    KeyMade,
    Preparing,
    Running,
    Stopped,
)
from common.wishes import ExportWish, OfferWish
from common.words import MountMode, Resources, Role
from master.accounts.models import User
from master.context import MasterContext
from master.deployments.models import Deployment, Instance
from master.deployments.services import request_deployment, stop_deployment
from master.filesets.models import Fileset, FilesetKind
from master.lifecycle.reconcile import Reconciler
from master.scheduler.service import Scheduler
from master.scheduler.standing import standings
from tests.support.master import (
    GIB,
    FakeBox,
    add_application,
    add_fileset,
    add_image,
    add_user,
    image_digests,
    make_master,
)
from tests.support.redis import RedisServer
from tests.support.road import SSH, compute_wish, start, state, tell
from tests.support.scheduling import place_now


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    """A master with an empty database."""
    return make_master(tmp_path, redis_server.url, lost_after_s=0.0, home_limit_bytes=GIB)


def test_boxes_that_fetch_the_same_image_are_told_of_each_other(master: MasterContext) -> None:
    boxes = [FakeBox(master, "box-1"), FakeBox(master, "box-2")]
    holder = FakeBox(master, "holder", roles=frozenset({Role.DEPOSITORY}))
    holder.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    placed: dict[str, str] = {}
    for number, box in enumerate(boxes):
        other = boxes[1 - number]
        other.beat(open=False)
        box.beat(open=True)
        user = add_user(master, f"user-{number}")
        instance = request_deployment(master, user, "site", {}).instances[0]
        assert place_now(master, instance.id, instance.generation) == "placed"
        placed[box.name] = instance.id
    for box, other in (boxes, reversed(boxes)):
        image = compute_wish(box, placed[box.name]).image
        assert image.fetching == [other.name]
        assert set(image.endpoints) == {"holder", other.name}
        assert image.blobs[0].boxes == ["holder"]
    about = {"subject": placed["box-2"], "generation": 1}
    assert tell(master, boxes[1], Preparing(**about), Running(**about)) == [True, True]
    third = request_deployment(master, add_user(master, "third"), "site", {}).instances[0]
    assert place_now(master, third.id, third.generation) == "placed"
    assert compute_wish(boxes[1], third.id).image.fetching == ["box-1"]


def test_a_request_is_placed_runs_and_stops_and_leaves_nothing(master: MasterContext) -> None:
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    user = add_user(master)
    deployment = request_deployment(master, user, "site", {})
    instance = start(master, box, deployment)
    wish = compute_wish(box, instance.id)
    assert (wish.wanted, wish.service.image, wish.image.blobs[0].boxes) == ("running", "site:1", ["box-1"])
    assert isinstance(box.wishes()[f"depository/{instance.id}"], OfferWish)
    assert state(master, deployment) == "running"

    stop_deployment(master, user, deployment.id)
    assert (state(master, deployment), compute_wish(box, instance.id).wanted) == ("stopping", "stopped")
    assert tell(master, box, Stopped(subject=instance.id, generation=1)) == [True]
    assert state(master, deployment) == "stopped"
    assert box.wishes() == {}
    assert master.redis.hgetall(reserved_key("box-1")) == {}
    with master.database.read() as session:
        rows = session.get_one(Instance, instance.id).timeline
        steps = [row.step for row in rows]
    assert steps == ["requested", "predicted", "placed", "preparing", "running", "stopping", "stopped"]


def test_files_are_exported_to_the_instances_own_key_before_it_is_launched(master: MasterContext) -> None:
    compute, store = FakeBox(master, "box-1"), FakeBox(master, "box-2", open=False)
    compute.hold(image_digests(add_image(master, "site:1")))
    fileset = add_fileset(master, "pages", store)
    add_application(master, "site", "site:1", filesets=[{"name": "pages", "mount": "/srv"}], home="/home/me")
    user = add_user(master)
    deployment = request_deployment(master, user, "site", {})
    instance = deployment.instances[0]
    place_now(master, instance.id, 1)
    mounts = {mount.fileset: mount for mount in compute_wish(compute, instance.id).mounts}
    assert all(mount.endpoint is None for mount in mounts.values())
    home = next(mount for mount in mounts.values() if mount.mode is MountMode.READ_WRITE)

    for key in mounts:
        tell(
            master,
            compute,
            KeyMade(subject=instance.id, generation=1, fileset=key, public_key=f"ssh-ed25519 {key}"),
        )
        holder = {box.name: box for box in (compute, store)}[mounts[key].filestore]
        export = holder.wishes()[f"filestore/{instance.id}.{key}"]
        assert isinstance(export, ExportWish)
        assert (export.wanted, export.public_keys) == ("exported", [f"ssh-ed25519 {key}"])
        assert (export.fence, export.size_limit_bytes) == ((1, GIB) if key == home.fileset else (0, None))
        answer = Exported(
            subject=f"{instance.id}.{key}", generation=1, fileset=key, endpoint=SSH, host_key="ssh-ed25519 H",
            public_keys=export.public_keys,
        )  # fmt: skip
        assert tell(master, holder, answer) == [True]
    assert all(mount.endpoint == SSH for mount in compute_wish(compute, instance.id).mounts)
    assert mounts[fileset.id].filestore == "box-2"

    stop_deployment(master, user, deployment.id)
    tell(master, compute, Stopped(subject=instance.id, generation=1))
    for key, mount in mounts.items():
        holder = {box.name: box for box in (compute, store)}[mount.filestore]
        assert holder.wishes()[f"filestore/{instance.id}.{key}"].wanted == "ended"
        assert tell(master, holder, Ended(subject=f"{instance.id}.{key}", generation=1)) == [True]
    assert compute.wishes() == store.wishes() == {}


def mount_of(master: MasterContext, user: User) -> tuple[str, str, int]:
    """Start the book, and see where and how it has the home."""
    deployment = request_deployment(master, user, "book", {})
    place_now(master, deployment.instances[0].id, 1)
    with master.database.read() as session:
        (mount,) = session.get_one(Instance, deployment.instances[0].id).mounts
        return mount.compute_box_id, mount.mode, mount.fence


def test_a_home_has_one_writer_and_a_new_writer_a_higher_fence(master: MasterContext) -> None:
    box, other = FakeBox(master, "box-1"), FakeBox(master, "box-2")
    digests = image_digests(add_image(master, "book:1"))
    box.hold(digests)
    other.hold(digests)
    add_application(master, "book", "book:1", home="/home/me")
    user = add_user(master)
    assert mount_of(master, user) == ("box-1", "rw", 1)
    assert mount_of(master, user) == ("box-1", "rw", 1)  # the same box shares it
    box.beat(open=False)
    assert mount_of(master, user) == ("box-2", "ro", 1)


def test_a_home_whose_last_writer_has_stopped_is_written_elsewhere_before_its_session_has_ended(
    master: MasterContext,
) -> None:
    box, other = FakeBox(master, "box-1"), FakeBox(master, "box-2")
    digests = image_digests(add_image(master, "book:1"))
    box.hold(digests)
    other.hold(digests)
    add_application(master, "book", "book:1", home="/home/me")
    user = add_user(master)
    first = request_deployment(master, user, "book", {})
    place_now(master, first.instances[0].id, 1)
    box.beat(open=False)
    stop_deployment(master, user, first.id)
    assert mount_of(master, user) == ("box-2", "ro", 1), "it may still write"
    tell(master, box, Stopped(subject=first.instances[0].id, generation=1))
    assert mount_of(master, user) == ("box-2", "rw", 2)


def test_a_request_that_fits_nowhere_waits_and_starts_when_there_is_room(master: MasterContext) -> None:
    box = FakeBox(master, "box-1", capacity=Resources(cpu=1, memory_bytes=GIB))
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    user = add_user(master)
    first = request_deployment(master, user, "site", {})
    start(master, box, first)
    second = request_deployment(master, user, "site", {})
    assert place_now(master, second.instances[0].id, 1) == "queued"
    with master.database.read() as session:
        waiting = session.get_one(Instance, second.instances[0].id)
        assert (waiting.state, waiting.reason) == (
            "queued",
            "It needs 1 cpu; the largest free is 0 on box-1.",
        )
    standing = standings(master.redis, [waiting.id])[waiting.id]
    with master.database.read() as session:
        lease_end = session.get_one(Deployment, first.id).lease_end
    assert (standing.place, standing.waiting, standing.start) == (1, 1, lease_end)
    stop_deployment(master, user, first.id)
    tell(master, box, Stopped(subject=first.instances[0].id, generation=1))
    Scheduler(master).place_waiting()
    assert state(master, second) == "placed"


def test_a_lease_runs_from_the_first_place_on_however_long_that_took(master: MasterContext) -> None:
    box = FakeBox(master, "box-1", open=False)
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    deployment = request_deployment(master, add_user(master), "site", {})
    with master.database.write() as session:  # asked for two hours ago, for one hour
        row = session.get_one(Deployment, deployment.id)
        row.created_at, row.lease_end = time.time() - 7200, time.time() - 3600
    Reconciler(master).run()
    assert state(master, deployment) in ("requested", "queued")
    box.beat(open=True)
    Scheduler(master).place_waiting()
    assert state(master, deployment) == "placed"
    with master.database.read() as session:
        row = session.get_one(Deployment, deployment.id)
        assert row.lease_s(time.time()) == pytest.approx(3600, abs=60)


def test_one_deployment_that_cannot_be_written_down_keeps_nobody_else_waiting(master: MasterContext) -> None:
    box = FakeBox(master, "box-1", capacity=Resources(cpu=8, memory_bytes=8 * GIB))
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(
        master,
        "site",
        "site:1",
        environment={"V": "${v}"},
        options=[{"name": "v", "title": "v"}],
    )
    user = add_user(master)
    scheduler = Scheduler(master)
    placed = request_deployment(master, user, "site", {"v": "a"})
    place_now(master, placed.instances[0].id, 1, scheduler=scheduler)
    bad, good = (request_deployment(master, user, "site", {"v": "a"}) for _ in range(2))
    with master.database.write() as session:
        session.get_one(Deployment, bad.id).options = {"v": "\ud800"}
        session.get_one(Deployment, placed.id).options = {"v": "\ud800"}
    scheduler.place_waiting()
    assert state(master, good) == "placed"
    master.redis.delete(wish_key("box-1"))
    Reconciler(master).run()
    assert f"compute/{good.instances[0].id}" in box.wishes()


def test_a_refused_request_leaves_nothing(master: MasterContext) -> None:
    FakeBox(master, "box-1")
    add_image(master, "site:1")
    add_application(master, "site", "site:1")
    add_application(master, "gone", "missing:1")
    user = add_user(master)
    with pytest.raises(Unavailable, match="No box that is up holds the image site:1"):
        request_deployment(master, user, "site", {})
    with pytest.raises(NotFound, match="no application nothing"):
        request_deployment(master, user, "nothing", {})
    with pytest.raises(NotFound, match="no image missing:1"):
        request_deployment(master, user, "gone", {})
    with master.database.read() as session:
        assert session.query(Deployment).count() == session.query(Instance).count() == 0


def test_a_fileset_that_nobody_put_or_holds_is_named_and_nothing_is_left(master: MasterContext) -> None:
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1", filesets=[{"name": "maps", "mount": "/maps"}])
    user = add_user(master)
    with pytest.raises(NotFound, match="no fileset maps") as unknown:
        request_deployment(master, user, "site", {})
    with master.database.write() as session:
        session.add(Fileset(id="f-1", name="maps", kind=FilesetKind.PUBLIC.value, owner_id=user.id))
    with pytest.raises(Unavailable, match="No filestore holds the fileset maps") as unheld:
        request_deployment(master, user, "site", {})
    for refused in (unknown.value, unheld.value):
        assert (refused.field, bool(refused.remedy)) == ("fileset", True)
    with master.database.read() as session:
        assert session.query(Deployment).count() == session.query(Instance).count() == 0


def test_the_same_idempotency_key_gives_the_same_deployment(master: MasterContext) -> None:
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    user = add_user(master)
    first = request_deployment(master, user, "site", {}, "k")
    assert request_deployment(master, user, "site", {}, "k").id == first.id


def test_a_secret_option_reaches_only_the_box_that_needs_it(master: MasterContext) -> None:
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    options = [{"name": "password", "title": "Password", "type": "secret"}]
    add_application(master, "site", "site:1", environment={"PASSWORD": "${password}"}, options=options)
    deployment = request_deployment(master, add_user(master), "site", {"password": "hunter2-marked"})
    instance = start(master, box, deployment)
    wish = compute_wish(box, instance.id)
    assert box.seal_key.unseal(wish.sealed["PASSWORD"]) == "hunter2-marked"
    assert "hunter2-marked" not in wish.model_dump_json()
    database = Path(str(master.database.engine.url.database))
    assert all(b"hunter2-marked" not in file.read_bytes() for file in database.parent.glob("openraas.db*"))
