"""Which boxes keep what ready: operator, manifest and timetable, over a real Redis and a real database."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from common.errors import BadInput
from common.names import RECONCILE_LOCK
from common.warm import likeness, warm_subject
from common.wishes import ComputeWish, WarmWish
from common.words import MountMode, Resources
from master.accounts.models import User
from master.catalogue.manifest import Manifest
from master.catalogue.models import Application
from master.catalogue.services import publish, remove
from master.context import MasterContext
from master.deployments.services import request_deployment
from master.lifecycle.reconcile import Reconciler
from master.prewarming import services
from master.prewarming.planner import Planner
from master.timetable import services as timetable
from master.timetable.times import When
from tests.support.master import GIB, FakeBox, add_image, add_user, image_digests, make_master
from tests.support.redis import RedisServer
from tests.support.scheduling import place_now

DAY = 86400.0


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    """A master with an empty database."""
    made = make_master(tmp_path, redis_server.url, home_limit_bytes=GIB)
    made.redis.delete(RECONCILE_LOCK)
    return made


@pytest.fixture
def teacher(master: MasterContext) -> User:
    return add_user(master, "teacher", "operator")


def boxes(master: MasterContext, *cores: int) -> list[FakeBox]:
    """Boxes that hold the image of `notebook`."""
    digests = image_digests(add_image(master, "notebook:1"))
    made = []
    for number, count in enumerate(cores):
        box = FakeBox(master, f"box-{number}", capacity=Resources(cpu=count, memory_bytes=64 * GIB))
        box.hold(digests)
        made.append(box)
    return made


def notebook(master: MasterContext, **changes: object) -> Application:
    """The catalogue's entry, published as it is now."""
    service = {
        "image": "notebook:1", "port": 8888, "home": "/home/person", "command": ["lab"],
        "resources": {"cpu": 1, "memory": "1GiB", "disk": 0}, "prewarm": {"instances": 0}, **changes,
    }  # fmt: skip
    manifest = Manifest.model_validate(
        {"openraas": 1, "name": "notebook", "title": "Notebook", "services": {"lab": service}}
    )
    with master.database.write() as session:
        return publish(session, manifest, None)


def plan(master: MasterContext) -> None:
    """What one look of the planner and the rest of a round do."""
    Planner(master).run()
    Reconciler(master).run()


def kept(found: list[FakeBox], application: Application) -> dict[str, WarmWish]:
    """The wishes of the boxes for prewarmed instances."""
    wishes = {}
    for box in found:
        wish = box.wishes().get(f"compute/{warm_subject(application.id)}")
        if wish is not None:
            assert isinstance(wish, WarmWish)
            wishes[box.name] = wish
    return wishes


def order(master: MasterContext, teacher: User, count: int) -> None:
    with master.database.write() as session:
        services.order(session, teacher, "notebook", count)


def test_an_operators_number_is_spread_over_the_boxes_with_room(master: MasterContext, teacher: User) -> None:
    fleet, entry = boxes(master, 8, 8, 0), notebook(master)
    order(master, teacher, 4)
    plan(master)
    wishes = kept(fleet, entry)
    assert {box: wish.count for box, wish in wishes.items()} == {"box-0": 2, "box-1": 2}
    wish = wishes["box-0"]
    assert [(target.target, target.mode) for target in wish.targets] == [
        ("/home/person", MountMode.READ_WRITE)
    ]
    assert wish.image.endpoints
    before = {box: wish.order for box, wish in wishes.items()}
    plan(master)
    assert {box: wish.order for box, wish in kept(fleet, entry).items()} == before


def test_the_manifests_number_counts_where_no_operator_says_otherwise(
    master: MasterContext, teacher: User
) -> None:
    fleet, entry = boxes(master, 8), notebook(master, prewarm={"instances": 3})
    plan(master)
    assert kept(fleet, entry)["box-0"].count == 3
    order(master, teacher, 1)
    plan(master)
    assert kept(fleet, entry)["box-0"].count == 1
    order(master, teacher, 0)
    plan(master)
    assert kept(fleet, entry) == {}


def test_a_box_that_is_lost_hands_its_share_to_the_others(master: MasterContext, teacher: User) -> None:
    fleet, entry = boxes(master, 8, 8), notebook(master)
    order(master, teacher, 4)
    plan(master)
    fleet[0].go_silent()
    plan(master)
    assert {box: wish.count for box, wish in kept(fleet, entry).items()} == {"box-1": 4}


def test_what_was_published_anew_is_made_ready_anew(master: MasterContext, teacher: User) -> None:
    fleet, entry = boxes(master, 8), notebook(master)
    order(master, teacher, 1)
    plan(master)
    first = kept(fleet, entry)["box-0"]
    notebook(master, environment={"COLOUR": "red"})
    plan(master)
    second = kept(fleet, entry)["box-0"]
    assert second.service.environment == {"COLOUR": "red"}
    assert second.order > first.order


def test_an_application_that_is_removed_keeps_no_box_busy(master: MasterContext, teacher: User) -> None:
    fleet, entry = boxes(master, 8), notebook(master)
    order(master, teacher, 1)
    plan(master)
    with master.database.write() as session:
        remove(session, "notebook")
    plan(master)
    assert kept(fleet, entry) == {}


def test_a_request_goes_where_an_instance_waits_and_is_like_it(master: MasterContext, teacher: User) -> None:
    fleet, entry = boxes(master, 8, 8), notebook(master)
    order(master, teacher, 1)
    plan(master)
    (name, wish), *_ = kept(fleet, entry).items()
    box = next(item for item in fleet if item.name == name)
    box.beat(prewarmed={warm_subject(entry.id): 1})
    other = next(item for item in fleet if item.name != name)
    other.beat()
    deployment = request_deployment(master, add_user(master, "ada"), "notebook", {})
    instance = deployment.instances[0]
    assert place_now(master, instance.id, 1) == "placed"
    given = box.wishes()[f"compute/{instance.id}"]
    assert isinstance(given, ComputeWish)
    mounts = [(mount.target, mount.mode) for mount in given.mounts]
    targets = [(target.target, target.mode) for target in wish.targets]
    assert likeness(given.service, given.image.manifest, mounts) == likeness(
        wish.service, wish.image.manifest, targets
    )


def add(master: MasterContext, teacher: User, in_s: float, count: int) -> str:
    """An entry of the timetable for a moment from now on, to the minute."""
    moment = time.gmtime(time.time() + in_s)
    when = When(time.strftime("%Y-%m-%d", moment), time.strftime("%H:%M", moment), "UTC")
    with master.database.write() as session:
        return timetable.add(session, teacher, "notebook", when, count, now=time.time() - DAY).id


def test_the_timetable_fetches_layers_first_then_makes_instances_ready_and_releases_them(
    master: MasterContext, teacher: User
) -> None:
    fleet, entry = boxes(master, 8, 8), notebook(master)
    lesson = add(master, teacher, 20 * 60, 6)
    plan(master)
    assert {box: wish.count for box, wish in kept(fleet, entry).items()} == {"box-0": 0, "box-1": 0}
    with master.database.write() as session:
        timetable.remove(session, lesson)
    lesson = add(master, teacher, 120, 6)
    plan(master)
    assert {box: wish.count for box, wish in kept(fleet, entry).items()} == {"box-0": 3, "box-1": 3}
    Planner(master).run()  # another master, or the next one after a restart, says the same
    assert {box: wish.count for box, wish in kept(fleet, entry).items()} == {"box-0": 3, "box-1": 3}
    with master.database.write() as session:
        timetable.remove(session, lesson)
    plan(master)
    assert kept(fleet, entry) == {}


def test_who_has_come_is_waited_for_no_more(master: MasterContext, teacher: User) -> None:
    fleet, entry = boxes(master, 8, 8), notebook(master)
    add(master, teacher, 120, 6)
    plan(master)
    deployment = request_deployment(master, add_user(master, "ada"), "notebook", {})
    assert place_now(master, deployment.instances[0].id, 1) == "placed"
    plan(master)
    assert sum(wish.count for wish in kept(fleet, entry).values()) == 5


def test_a_time_that_is_over_is_refused(master: MasterContext, teacher: User) -> None:
    boxes(master, 8)
    notebook(master)
    with pytest.raises(BadInput, match="is over"), master.database.write() as session:
        timetable.add(session, teacher, "notebook", When("2020-01-01", "08:00", "UTC"), 3, now=time.time())


def test_an_application_with_a_choice_without_default_cannot_be_prewarmed(
    master: MasterContext, teacher: User
) -> None:
    boxes(master, 8)
    notebook(master, prewarm=None)
    with pytest.raises(BadInput, match="does not say how"):
        order(master, teacher, 1)
