"""What a manifest says of where instances run reaches the scheduler, and so do the owners' rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from master.accounts.models import User
from master.context import MasterContext
from master.deployments.models import Instance
from master.deployments.services import request_deployment
from master.scheduler.queue import read_queue
from master.scheduler.service import Scheduler
from tests.support.master import FakeBox, add_application, add_image, add_user, image_digests, make_master
from tests.support.redis import RedisServer
from tests.support.scheduling import place_now


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


def boxes(master: MasterContext, **labels: str) -> list[FakeBox]:
    """Boxes in rooms, which all hold the image."""
    made = [FakeBox(master, name, labels={"room": room}) for name, room in labels.items()]
    image = add_image(master, "site:1")
    for box in made:
        box.hold(image_digests(image))
    return made


def run(master: MasterContext, application: str, user: User, **service: object) -> list[Instance]:
    """Publish it, ask for it, and place every instance."""
    add_application(master, application, "site:1", resources={"cpu": 0.1}, **service)
    deployment = request_deployment(master, user, application, {})
    for instance in deployment.instances:
        place_now(master, instance.id, instance.generation)
    with master.database.read() as session:
        return [session.get_one(Instance, instance.id) for instance in deployment.instances]


def test_instances_spread_over_boxes_and_over_rooms(master: MasterContext) -> None:
    boxes(master, a="1", b="1", c="2")
    ada = add_user(master, "ada")
    spread = run(master, "apart", ada, instances=3, placement={"spread": "box"})
    assert sorted(str(instance.box_id) for instance in spread) == ["a", "b", "c"]
    rooms = run(master, "rooms", ada, instances=2, placement={"spread": "room"})
    assert "c" in {instance.box_id for instance in rooms}


def test_an_instance_that_is_to_be_apart_waits_and_says_from_what(master: MasterContext) -> None:
    boxes(master, a="1")
    ada = add_user(master, "ada")
    first, second = run(master, "shop", ada, instances=2, placement={"apart": ["main"]})
    assert {first.state, second.state} == {"placed", "queued"}
    waiting = first if first.state == "queued" else second
    assert "a runs the service main, from which it is to be apart" in (waiting.reason or "")
    (other,) = run(master, "other", ada, placement={"apart": ["shop/main"]})
    assert "the service shop/main" in (other.reason or "")
    (of_somebody_else,) = run(master, "third", add_user(master, "bob"), placement={"apart": ["shop/main"]})
    assert of_somebody_else.state == "placed"


def test_two_schedulers_do_not_put_what_is_to_be_apart_on_one_box(master: MasterContext) -> None:
    boxes(master, a="1")
    add_application(
        master, "shop", "site:1", instances=2, resources={"cpu": 0.1}, placement={"apart": ["main"]}
    )
    deployment = request_deployment(master, add_user(master, "ada"), "shop", {})
    first, second = sorted(deployment.instances, key=lambda one: one.id)  # as they are tried
    slow, quick = Scheduler(master), Scheduler(master)
    with master.database.read() as session:
        queued = [item for item in read_queue(session) if item.instance == second.id]
    asks, _ = slow._asks.read(queued)
    taken, _ = slow._decider.decide(asks, None)  # nothing runs there yet
    place_now(master, first.id, first.generation, scheduler=quick)
    assert slow._placements.write(taken, []) == {second.id: "put off"}
    with master.database.read() as session:
        assert [session.get_one(Instance, one.id).box_id for one in (first, second)] == ["a", None]


def test_an_instance_goes_where_its_neighbour_runs(master: MasterContext) -> None:
    boxes(master, a="1", b="1")
    ada = add_user(master, "ada")
    (early,) = run(master, "early", ada, placement={"beside": ["shop/main"]})
    assert "does not run the service shop/main" in (early.reason or "")
    run(master, "shop", ada, placement={"boxes": ["b"]})
    Scheduler(master).run()
    with master.database.read() as session:
        assert session.get_one(Instance, early.id).box_id == "b"


def test_pins_and_labels_reach_the_scheduler(master: MasterContext) -> None:
    boxes(master, a="1", b="2")
    ada = add_user(master, "ada")
    (labelled,) = run(master, "labelled", ada, placement={"labels": {"room": "2"}})
    assert labelled.box_id == "b"
    (nowhere,) = run(master, "nowhere", ada, placement={"labels": {"room": "3"}})
    assert "no box that is up has it" in (nowhere.reason or "")


def test_a_box_that_its_owner_paused_gets_nothing_new(master: MasterContext) -> None:
    (box,) = boxes(master, a="1")
    box.beat(paused="is switched off by its owner")
    (waiting,) = run(master, "shop", add_user(master, "ada"))
    assert waiting.state == "queued"
    assert "a is switched off by its owner" in (waiting.reason or "")
