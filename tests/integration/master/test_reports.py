"""What boxes report counts for what was placed on them, once, and within limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.reports import (
    Failed,
    Lied,
    Running,
    StepDone,
    Stopped,
)
from common.words import Role
from master.boxes.standing import accusers
from master.context import MasterContext
from master.deployments.models import Instance
from master.deployments.services import request_deployment
from master.lifecycle.reports import MOST_ROWS_OF_A_BOX, MOST_TRIES, Reports
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
from tests.support.road import compute_wish, start, state, tell
from tests.support.scheduling import place_now


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    """A master with an empty database."""
    return make_master(tmp_path, redis_server.url, lost_after_s=0.0, home_limit_bytes=GIB)


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
        assert place_now(master, instance.id, instance.generation) == "placed"
        named.append(compute_wish(box, instance.id).image.blobs[0].boxes)
        about = {"subject": instance.id, "generation": 1}
        assert tell(master, box, Lied(boxes=["liar"], **about)) == [number < 2]
        # What the box was not told to ask cannot have lied to it, nor to one that fetches nothing.
        assert tell(master, box, Lied(boxes=["stranger"], **about)) == [False]
        assert tell(master, boxes[number - 1], Lied(boxes=["good"], **about)) == [False]
    assert named == [["good", "liar"], ["good", "liar"], ["good"]]
    assert accusers(master.redis, "liar") == ["box-0", "box-1"]


def test_what_ended_with_its_box_is_tried_again_but_not_for_ever(master: MasterContext) -> None:
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    deployment = request_deployment(master, add_user(master), "site", {})
    identity = deployment.instances[0].id
    for generation in range(1, MOST_TRIES + 1):
        assert place_now(master, identity, generation) == "placed"
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
    place_now(master, instance.id, 1)
    home = compute_wish(box, instance.id).mounts[0].fileset
    about = {"subject": f"{instance.id}.{home}", "generation": 1}
    assert tell(master, box, Failed(**about, reason="no-room", message="The disk is full.")) == [True]
    assert compute_wish(box, instance.id).wanted == "stopped"
    tell(master, box, Stopped(subject=instance.id, generation=1))
    with master.database.read() as session:
        ended = session.get_one(Instance, instance.id)
        assert (ended.state, ended.error) == ("failed", "The disk is full.")


def test_reports_of_another_box_or_an_older_generation_count_for_nothing(master: MasterContext) -> None:
    box, rogue = FakeBox(master, "box-1"), FakeBox(master, "box-9", open=False)
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    deployment = request_deployment(master, add_user(master), "site", {})
    instance = deployment.instances[0]
    place_now(master, instance.id, 1)
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
    place_now(master, instance.id, 1)
    tell(
        master, box, Failed(subject=instance.id, generation=1, reason="no-room", message="The disk is full.")
    )
    assert place_now(master, instance.id, 2) == "placed"
    assert f"compute/{instance.id}" not in box.wishes()
    assert compute_wish(other, instance.id).generation == 2


def test_a_box_tells_so_much_of_an_instance_and_no_more(master: MasterContext) -> None:
    box, store = FakeBox(master, "box-1"), FakeBox(master, "box-2", roles=frozenset({Role.DEPOSITORY}))
    store.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    instance = start(master, box, request_deployment(master, add_user(master), "site", {}))
    about = {"subject": instance.id, "generation": 1, "took_s": 0.1}
    flood = [
        StepDone(**about, step="fetch", detail=f"try {number}") for number in range(2 * MOST_ROWS_OF_A_BOX)
    ]
    assert tell(master, box, *flood).count(True) == MOST_ROWS_OF_A_BOX
    assert tell(master, store, StepDone(**about, step="offer")) == [True], "others still tell theirs"
    assert Reports(master).take("box-1", flood[0].model_dump_json().replace('"fetch"', '"mine"')) is False


def test_sources_of_bytes_are_boxes_that_exist(master: MasterContext) -> None:
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    add_application(master, "site", "site:1")
    instance = start(master, box, request_deployment(master, add_user(master), "site", {}))
    told = StepDone(
        subject=instance.id, generation=1, step="fetch", took_s=1, sources={"box-1": 5, "made-up": 7, "x": -1}
    )
    assert tell(master, box, told) == [True]
    with master.database.read() as session:
        assert session.get_one(Instance, instance.id).timeline[-1].sources == {"box-1": 5}


def test_the_timeline_calls_filesets_by_their_names_and_is_in_the_order_of_time(
    master: MasterContext,
) -> None:
    box = FakeBox(master, "box-1")
    box.hold(image_digests(add_image(master, "site:1")))
    fileset = add_fileset(master, "pages", box)
    add_application(master, "site", "site:1", filesets=[{"name": "pages", "mount": "/srv"}])
    instance = start(master, box, request_deployment(master, add_user(master), "site", {}))
    about = {"subject": instance.id, "generation": 1, "took_s": 0.1}
    late = StepDone(**about, step="launch", at=2e9)
    shared = StepDone(**about, step="export", detail=fileset.id, at=1.9e9)
    assert tell(master, box, late, shared, shared) == [True, True, True]
    with master.database.read() as session:
        rows = session.get_one(Instance, instance.id).timeline
    assert [(row.step, row.detail) for row in rows][-2:] == [("export", "pages"), ("launch", "")]
