"""The life of a request on the master: SQL, Redis, wishes and reports, with boxes that are only records."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from common.errors import NotFound, Unavailable
from common.names import EPOCH, EPOCH_READY, reserved_key, wish_key
from common.reports import (
    Ended,
    Exported,
    Failed,
    KeyMade,
    Lied,
    Preparing,
    Report,
    Running,
    StepDone,
    Stopped,
)
from common.wishes import ComputeWish, ExportWish, OfferWish
from common.words import Endpoint, MountMode, Resources, Role
from master.boxes.standing import accusers
from master.context import MasterContext
from master.deployments.models import Deployment, Instance
from master.deployments.services import request_deployment, stop_deployment
from master.filesets.models import Fileset, FilesetKind
from master.lifecycle.reconcile import Reconciler
from master.lifecycle.reports import MOST_TRIES, Reports
from master.scheduler.reservations import Reservations
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

SSH = Endpoint(host="127.0.0.1", port=2222)


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    """A master with an empty database."""
    return make_master(tmp_path, redis_server.url, lost_after_s=0.0, home_limit_bytes=GIB)


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
    assert Scheduler(master).place(instance.id, instance.generation) == "placed"
    about = {"subject": instance.id, "generation": instance.generation}
    assert tell(master, box, Preparing(**about), Running(**about)) == [True, True]
    return instance


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
        assert Scheduler(master).place(instance.id, instance.generation) == "placed"
        placed[box.name] = instance.id
    for box, other in (boxes, reversed(boxes)):
        image = compute_wish(box, placed[box.name]).image
        assert image.fetching == [other.name]
        assert set(image.endpoints) == {"holder", other.name}
        assert image.blobs[0].boxes == ["holder"]
    about = {"subject": placed["box-2"], "generation": 1}
    assert tell(master, boxes[1], Preparing(**about), Running(**about)) == [True, True]
    third = request_deployment(master, add_user(master, "third"), "site", {}).instances[0]
    assert Scheduler(master).place(third.id, third.generation) == "placed"
    assert compute_wish(boxes[1], third.id).image.fetching == ["box-1"]


def test_a_box_that_several_accuse_of_bad_bytes_is_not_named_as_a_source(master: MasterContext) -> None:
    boxes = [FakeBox(master, f"box-{number}") for number in range(3)]
    holders = [FakeBox(master, name, roles=frozenset({Role.DEPOSITORY})) for name in ("good", "liar")]
    digests = image_digests(add_image(master, "site:1"))
    for holder in holders:
        holder.hold(digests)
    add_application(master, "site", "site:1")
    named: list[list[str]] = []
    for number, box in enumerate(boxes):
        for other in boxes:
            other.beat(open=other is box)
        user = add_user(master, f"user-{number}")
        instance = request_deployment(master, user, "site", {}).instances[0]
        assert Scheduler(master).place(instance.id, instance.generation) == "placed"
        named.append(compute_wish(box, instance.id).image.blobs[0].boxes)
        about = {"subject": instance.id, "generation": 1}
        assert tell(master, box, Lied(boxes=["liar"], **about)) == [number < 2]
        # What the box was not told to ask cannot have lied to it, nor to one that fetches nothing.
        assert tell(master, box, Lied(boxes=["stranger"], **about)) == [False]
        assert tell(master, boxes[number - 1], Lied(boxes=["good"], **about)) == [False]
    assert named == [["good", "liar"], ["good", "liar"], ["good"]]
    assert accusers(master.redis, "liar") == ["box-0", "box-1"]


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
    Scheduler(master).place(instance.id, 1)
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


def test_what_ended_with_its_box_is_tried_again_but_not_for_ever(master: MasterContext) -> None:
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    deployment = request_deployment(master, add_user(master), "site", {})
    identity = deployment.instances[0].id
    for generation in range(1, MOST_TRIES + 1):
        assert Scheduler(master).place(identity, generation) == "placed"
        about = {"subject": identity, "generation": generation}
        cut = Failed(**about, reason="interrupted", message="It ended with its box.")
        assert tell(master, box, Running(**about), cut) == [True, True]
        assert state(master, deployment) == ("failed" if generation == MOST_TRIES else "requested")


def test_an_export_that_fails_ends_the_instance_and_says_why(master: MasterContext) -> None:
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1", home="/home/me")
    deployment = request_deployment(master, add_user(master), "site", {})
    instance = deployment.instances[0]
    Scheduler(master).place(instance.id, 1)
    home = compute_wish(box, instance.id).mounts[0].fileset
    about = {"subject": f"{instance.id}.{home}", "generation": 1}
    assert tell(master, box, Failed(**about, reason="no-room", message="The disk is full.")) == [True]
    assert compute_wish(box, instance.id).wanted == "stopped"
    tell(master, box, Stopped(subject=instance.id, generation=1))
    with master.database.read() as session:
        ended = session.get_one(Instance, instance.id)
        assert (ended.state, ended.error) == ("failed", "The disk is full.")


def test_a_home_has_one_writer_and_a_new_writer_a_higher_fence(master: MasterContext) -> None:
    box, other = FakeBox(master, "box-1"), FakeBox(master, "box-2")
    digests = image_digests(add_image(master, "book:1"))
    box.hold(digests)
    other.hold(digests)
    add_application(master, "book", "book:1", home="/home/me")
    user = add_user(master)

    def modes() -> list[tuple[str, str, int]]:
        deployment = request_deployment(master, user, "book", {})
        Scheduler(master).place(deployment.instances[0].id, 1)
        with master.database.read() as session:
            mounts = session.get_one(Instance, deployment.instances[0].id).mounts
            return [(mount.compute_box_id, mount.mode, mount.fence) for mount in mounts]

    assert modes() == [("box-1", "rw", 1)]
    assert modes() == [("box-1", "rw", 1)]  # the same box shares it
    box.beat(open=False)
    assert modes() == [("box-2", "ro", 1)]


def test_a_request_that_fits_nowhere_waits_and_starts_when_there_is_room(master: MasterContext) -> None:
    box = FakeBox(master, "box-1", capacity=Resources(cpu=1, memory_bytes=GIB))
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    user = add_user(master)
    first = request_deployment(master, user, "site", {})
    start(master, box, first)
    second = request_deployment(master, user, "site", {})
    assert Scheduler(master).place(second.instances[0].id, 1) == "queued"
    with master.database.read() as session:
        waiting = session.get_one(Instance, second.instances[0].id)
        assert (waiting.state, waiting.reason) == (
            "queued",
            "It needs 1 cpu; the largest free is 0 on box-1.",
        )
    standing = standings(master.redis, [waiting.id])[waiting.id]
    assert (standing.place, standing.waiting, standing.start) == (1, 1, first.lease_end)
    stop_deployment(master, user, first.id)
    tell(master, box, Stopped(subject=first.instances[0].id, generation=1))
    Scheduler(master).place_waiting()
    assert state(master, second) == "placed"


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
    scheduler.place(placed.instances[0].id, 1)
    bad, good = (request_deployment(master, user, "site", {"v": "a"}) for _ in range(2))
    with master.database.write() as session:
        session.get_one(Deployment, bad.id).options = {"v": "\ud800"}
        session.get_one(Deployment, placed.id).options = {"v": "\ud800"}
    scheduler.place_waiting()
    assert state(master, good) == "placed"
    master.redis.delete(wish_key("box-1"))
    Reconciler(master).run()
    assert f"compute/{good.instances[0].id}" in box.wishes()


def test_reports_of_another_box_or_an_older_generation_count_for_nothing(master: MasterContext) -> None:
    box, rogue = FakeBox(master, "box-1"), FakeBox(master, "box-9", open=False)
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    deployment = request_deployment(master, add_user(master), "site", {})
    instance = deployment.instances[0]
    Scheduler(master).place(instance.id, 1)
    assert tell(master, rogue, Running(subject=instance.id, generation=1)) == [False]
    assert tell(master, box, Running(subject=instance.id, generation=0)) == [False]
    assert Reports(master).take("box-1", "{") is False
    assert state(master, deployment) == "placed"


def test_a_doubled_report_writes_one_row(master: MasterContext) -> None:
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    instance = start(master, box, request_deployment(master, add_user(master), "site", {}))
    step = StepDone(subject=instance.id, generation=1, step="launch", took_s=0.2)
    tell(master, box, step, step)
    with master.database.read() as session:
        rows = session.get_one(Instance, instance.id).timeline
        assert [row.step for row in rows].count("launch") == 1


def test_a_box_that_refuses_for_want_of_room_is_passed_over_the_next_time(master: MasterContext) -> None:
    box, other = FakeBox(master, "box-1"), FakeBox(master, "box-2")
    digests = image_digests(add_image(master, "site:1"))
    box.hold(digests)
    other.hold(digests)
    add_application(master, "site", "site:1")
    deployment = request_deployment(master, add_user(master), "site", {})
    instance = deployment.instances[0]
    Scheduler(master).place(instance.id, 1)
    tell(
        master, box, Failed(subject=instance.id, generation=1, reason="no-room", message="The disk is full.")
    )
    assert Scheduler(master).place(instance.id, 2) == "placed"
    assert f"compute/{instance.id}" not in box.wishes()
    assert compute_wish(other, instance.id).generation == 2


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
    assert Scheduler(master).place(waiting.instances[0].id, 1) == "queued"
    Reconciler(master).run()
    assert master.redis.get(EPOCH) == master.redis.get(EPOCH_READY)
    assert compute_wish(box, instance.id).wanted == "running"
    assert [item.instance for item in Reservations(master.redis).of("box-1")] == [instance.id]
    assert Scheduler(master).place(waiting.instances[0].id, 1) == "queued"


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
