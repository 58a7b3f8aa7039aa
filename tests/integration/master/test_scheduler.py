"""The live scheduler: order, races, claims, the snapshot and what those who wait are told."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import redis
from sqlalchemy import select, text

from common import names
from common.errors import NotFound
from common.words import Resources
from master.boxes.models import Box
from master.boxes.services import cordon
from master.catalogue.manifest import Manifest
from master.catalogue.services import find_application
from master.context import MasterContext
from master.deployments.events import add_row
from master.deployments.messages import ENOUGH_WAKES
from master.deployments.models import Deployment, Instance
from master.deployments.parts import missing_parts
from master.deployments.services import request_deployment, stop_deployment
from master.lifecycle.herald import Herald
from master.lifecycle.reconcile import Reconciler
from master.scheduler.changes import position, read_since
from master.scheduler.heads import AGREED_MS, agree
from master.scheduler.outlook import holding_times
from master.scheduler.queue import Claims
from master.scheduler.reservations import SUMS, Reservation, Reservations
from master.scheduler.service import Scheduler
from master.scheduler.standing import standings
from tests.support.crowd import ask, count, make_boxes, overcommitted, produce, schedulers
from tests.support.master import (
    GIB,
    FakeBox,
    add_application,
    add_image,
    add_user,
    image_digests,
    make_master,
)
from tests.support.redis import RedisServer, wait_until
from tests.support.scheduling import place_now

LIMIT_S = 90.0


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    """A master with an empty database."""
    return make_master(tmp_path, redis_server.url, home_limit_bytes=GIB)


def site(master: MasterContext, *boxes: tuple[str, int], **service: object) -> list[FakeBox]:
    """Boxes of so many cores that hold the image of the application `site`, which takes one."""
    digests = image_digests(add_image(master, "site:1"))
    add_application(master, "site", "site:1", **service)
    made = []
    for name, cores in boxes:
        box = FakeBox(master, name, capacity=Resources(cpu=cores, memory_bytes=64 * GIB))
        box.hold(digests)
        made.append(box)
    return made


def states(master: MasterContext, deployments: Sequence[Deployment]) -> list[str]:
    with master.database.read() as session:
        return [session.get_one(Instance, item.instances[0].id).state for item in deployments]


def where(master: MasterContext, deployment: Deployment) -> str | None:
    with master.database.read() as session:
        return session.get_one(Instance, deployment.instances[0].id).box_id


def test_two_schedulers_and_fifty_producers_never_overcommit(master: MasterContext) -> None:
    boxes = make_boxes(master, 10, cores=12)
    asked = ask(master, 160, people=7)
    with schedulers(master, 2):
        produce(master, asked, producers=50)
        wait_until(
            lambda: count(master, "placed") == 120 and count(master, "queued") == 40,
            LIMIT_S,
            "120 placements, and 40 that wait",
        )
    assert overcommitted(master, boxes) == []
    with master.database.read() as session:
        placed = session.scalars(select(Instance).where(Instance.state == "placed")).all()
        steps = [[row.step for row in instance.timeline].count("placed") for instance in placed]
    assert set(steps) == {1}
    assert set(standings(master.redis, asked)) == {
        instance for instance in asked if instance not in {item.id for item in placed}
    }


def test_where_enough_wake_ups_lie_unread_no_more_are_sent(master: MasterContext) -> None:
    make_boxes(master, 1, cores=1)
    produce(master, ask(master, ENOUGH_WAKES + 8, people=1), producers=1)
    assert master.redis.llen(names.SCHEDULER_QUEUE) == ENOUGH_WAKES


def test_a_lost_race_lands_on_the_next_candidate(
    master: MasterContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    site(master, ("box-1", 1), ("box-2", 1))
    take_all = Reservations.take_all

    def rival_first(self: Reservations, wanted: Sequence[Reservation]) -> list[str]:
        monkeypatch.setattr(Reservations, "take_all", take_all)
        rival = Reservation(wanted[0].box, "i-rival", 1, Resources(cpu=1), time.time() + 60)
        assert take_all(Reservations(master.redis), [rival]) == ["reserved"]
        return take_all(self, wanted)

    monkeypatch.setattr(Reservations, "take_all", rival_first)
    deployment = request_deployment(master, add_user(master), "site", {})
    assert place_now(master, deployment.instances[0].id, 1) == "placed"
    assert where(master, deployment) == "box-2"


def test_while_the_database_is_away_placing_waits_for_the_next_round(master: MasterContext) -> None:
    site(master, ("box-1", 1))
    scheduler = Scheduler(master)
    deployment = request_deployment(master, add_user(master), "site", {})
    with master.database.write() as session:
        session.execute(text("ALTER TABLE deployments RENAME TO away"))
    scheduler.place_waiting()
    with master.database.write() as session:
        session.execute(text("ALTER TABLE away RENAME TO deployments"))
    scheduler.place_waiting()
    assert where(master, deployment) == "box-1"


def test_who_loses_the_last_candidate_looks_at_the_fleet_again(
    master: MasterContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = site(master, ("box-1", 1))
    take_all = Reservations.take_all

    def rival_first(self: Reservations, wanted: Sequence[Reservation]) -> list[str]:
        monkeypatch.setattr(Reservations, "take_all", take_all)
        rival = Reservation("box-1", "i-rival", 1, Resources(cpu=1), time.time() + 60)
        assert take_all(Reservations(master.redis), [rival]) == ["reserved"]
        FakeBox(master, "box-2", capacity=first.status.capacity).hold(first.layers)
        herald.look()
        return take_all(self, wanted)

    herald, scheduler = Herald(master.redis, every_s=1), Scheduler(master)
    herald.look()
    scheduler.run()
    monkeypatch.setattr(Reservations, "take_all", rival_first)
    deployment = request_deployment(master, add_user(master), "site", {})
    assert place_now(master, deployment.instances[0].id, 1, scheduler=scheduler) == "placed"
    assert where(master, deployment) == "box-2"


def test_after_a_wipe_of_redis_nothing_is_placed_until_reservations_are_rebuilt(
    master: MasterContext,
) -> None:
    boxes = make_boxes(master, 2, cores=3)
    ask(master, 8, people=2)
    scheduler = Scheduler(master)
    scheduler.run()
    assert (count(master, "placed"), count(master, "queued")) == (6, 2)
    master.redis.flushall()
    for box in boxes:
        box.hold(box.layers)
        master.redis.sadd(names.BOXES, box.name)
    scheduler.run()
    assert count(master, "placed") == 6, "nobody knows what is free"
    Reconciler(master).run()
    assert overcommitted(master, boxes) == []
    scheduler.run()
    assert count(master, "placed") == 6
    assert overcommitted(master, boxes) == []


def test_who_asked_for_much_does_not_keep_out_who_asked_for_little(master: MasterContext) -> None:
    site(master, ("box-1", 2))
    ada, bob = add_user(master, "ada"), add_user(master, "bob")
    many = [request_deployment(master, ada, "site", {}) for _ in range(4)]
    one = request_deployment(master, bob, "site", {})
    Scheduler(master).run()
    assert states(master, [*many, one]) == ["placed", "queued", "queued", "queued", "placed"]
    # What runs counts: with room for one more it is the turn of whoever holds nothing.
    cleo = request_deployment(master, add_user(master, "cleo"), "site", {})
    stop_deployment(master, bob, one.id)
    Reservations(master.redis).release("box-1", one.instances[0].id)
    Scheduler(master).run()
    assert states(master, [*many[1:], cleo]) == ["queued", "queued", "queued", "placed"]


def test_a_request_that_ends_in_time_passes_a_big_one_and_a_longer_one_does_not(
    master: MasterContext,
) -> None:
    site(master, ("box-1", 3))
    add_application(master, "big", "site:1", resources={"cpu": 3, "memory": "1GiB"})
    user = add_user(master)
    now = time.time()

    def asked(application: str, lease_s: float) -> Deployment:
        deployment = request_deployment(master, user, application, {})
        with master.database.write() as session:
            session.get_one(Deployment, deployment.id).lease_end = now + lease_s
        return deployment

    running = [asked("site", 3600), asked("site", 3600)]
    Scheduler(master).run()
    big, long = asked("big", 3600), asked("site", 7200)
    Scheduler(master).run()
    assert states(master, [*running, big, long]) == ["placed", "placed", "queued", "queued"]
    with master.database.read() as session:
        reasons = [session.get_one(Instance, item.instances[0].id).reason for item in (big, long)]
    assert reasons == [
        "It needs 3 cpu; the largest free is 1 on box-1.",
        "The room on box-1 is kept for a request that has waited longer.",
    ]
    waiting = standings(master.redis, [item.instances[0].id for item in (big, long)])
    starts = [item.start for item in waiting.values()]
    assert starts[0] == pytest.approx(now + 3600, abs=5)
    assert [item.place for item in waiting.values()] == [1, 2]
    short = asked("site", 600)
    Scheduler(master).run()
    assert states(master, [big, long, short]) == ["queued", "queued", "placed"]


def test_two_of_one_person_who_has_no_home_yet_get_the_same_one(master: MasterContext) -> None:
    site(master, ("box-1", 1), ("box-2", 1), home="/home/me")
    user = add_user(master)
    both = [request_deployment(master, user, "site", {}) for _ in range(2)]
    Scheduler(master).run()
    assert states(master, both) == ["placed", "placed"]
    with master.database.read() as session:
        mounts = [session.get_one(Instance, item.instances[0].id).mounts[0] for item in both]
        assert len({(mount.fileset_id, mount.box_id) for mount in mounts}) == 1
        assert sorted(mount.mode for mount in mounts) == ["ro", "rw"]


def test_a_snapshot_follows_what_the_herald_says(master: MasterContext) -> None:
    herald = Herald(master.redis, every_s=1)
    (first,) = site(master, ("box-1", 1))
    assert herald.look() == {"box-1"}
    scheduler = Scheduler(master)
    user = add_user(master)
    one = request_deployment(master, user, "site", {})
    assert place_now(master, one.instances[0].id, 1, scheduler=scheduler) == "placed"

    first.beat(load=3.0, at=time.time())
    assert herald.look() == frozenset(), "nothing that a placement looks at"
    first.beat(capacity=Resources(cpu=2, memory_bytes=64 * GIB))
    assert herald.look() == {"box-1"}
    two = request_deployment(master, user, "site", {})
    assert place_now(master, two.instances[0].id, 1, scheduler=scheduler) == "placed"

    second = FakeBox(master, "box-2", capacity=Resources(cpu=1, memory_bytes=64 * GIB))
    second.hold(first.layers)
    first.go_silent()
    assert herald.look() == {"box-1", "box-2"}
    three = request_deployment(master, user, "site", {})
    assert place_now(master, three.instances[0].id, 1, scheduler=scheduler) == "placed"
    assert where(master, three) == "box-2"


def test_a_cordon_counts_at_once(master: MasterContext) -> None:
    site(master, ("box-1", 1), ("box-2", 1))
    scheduler = Scheduler(master)
    scheduler.run()
    with master.database.write() as session:
        cordon(session, master.redis, session.get_one(Box, "box-1"), cordoned=True)
    deployment = request_deployment(master, add_user(master), "site", {})
    place_now(master, deployment.instances[0].id, 1, scheduler=scheduler)
    assert where(master, deployment) == "box-2"


def test_a_gap_in_the_stream_of_changes_is_noticed(master: MasterContext) -> None:
    site(master, ("box-1", 4))
    Herald(master.redis, every_s=1).look()
    last, epoch = position(master.redis)
    assert not read_since(master.redis, last, epoch).gap
    reservations = Reservations(master.redis)
    reservations.confirm(Reservation("box-1", "i-1", 1, Resources(cpu=1)))
    seen = read_since(master.redis, last, epoch)
    assert (seen.gap, seen.held) == (False, {"box-1": Resources(cpu=1)})
    reservations.confirm(Reservation("box-1", "i-2", 1, Resources(cpu=1)))
    master.redis.xtrim(names.CHANGES, maxlen=1, approximate=False)
    assert read_since(master.redis, last, epoch).gap
    assert read_since(master.redis, last, "another").gap
    master.redis.delete(names.CHANGES)
    assert read_since(master.redis, last, epoch).gap


def test_a_claim_is_nobody_elses_until_it_is_given_back(master: MasterContext) -> None:
    one, other = Claims(master.redis), Claims(master.redis)
    assert one.take(["a", "b", "c"], 2) == {"a", "b"}
    assert other.take(["a", "b", "c"], 2) == {"c"}
    one.release(["a"])
    assert other.take(["a", "b", "c"], 2) == {"a"}


def test_schedulers_keep_the_same_box_for_the_head_of_the_queue(master: MasterContext) -> None:
    assert agree(master.redis, "i-1", "box-1") == "box-1"
    assert agree(master.redis, "i-1", "box-2") == "box-1", "another scheduler sees another fleet"
    assert agree(master.redis, "i-2", "box-2") == "box-2", "another head"
    assert agree(master.redis, "i-2", "box-1") == "box-2"
    assert 0 < master.redis.pttl(names.HEAD) <= AGREED_MS


def test_a_pin_to_a_box_that_has_not_joined_is_refused_with_the_remedy(master: MasterContext) -> None:
    site(master, ("box-1", 1))
    add_application(master, "pinned", "site:1", placement={"boxes": ["box-9"]})
    user = add_user(master)
    with pytest.raises(NotFound, match="may run only on box-9, and no such box has joined") as caught:
        request_deployment(master, user, "pinned", {})
    assert "openraas box list" in str(caught.value)
    with master.database.read() as session:
        entry = find_application(session, "pinned")
        (told,) = missing_parts(session, master, user, Manifest.model_validate(entry.manifest))
    assert "no such box has joined" in told


def test_a_new_home_on_the_box_itself_is_reserved_with_the_layers(master: MasterContext) -> None:
    user = add_user(master)
    site(master, ("box-1", 2))
    add_application(master, "desk", "site:1", home="/home")
    deployment = request_deployment(master, user, "desk", {})
    assert place_now(master, deployment.instances[0].id, 1) == "placed"
    assert Reservations(master.redis).sums("box-1").disk_bytes >= master.settings.home_limit_bytes


def test_sums_of_reservations_stay_what_the_parts_are(master: MasterContext) -> None:
    FakeBox(master, "box-1", capacity=Resources(cpu=8, memory_bytes=8 * GIB))
    reservations, dice = Reservations(master.redis), random.Random(7)  # noqa: S311 - dice, no secrets
    now = time.time()
    for number in range(200):
        amounts = Resources(cpu=dice.choice([0.1, 0.3, 1]), memory_bytes=dice.randrange(GIB))
        expires = dice.choice([now - 5, now + 60])
        item = Reservation("box-1", f"i-{dice.randrange(12)}", number, amounts, expires)
        turn = dice.random()
        if turn < 0.6:
            reservations.take(item)
        elif turn < 0.8:
            reservations.confirm(item)
        else:
            reservations.release("box-1", item.instance)
        if turn > 0.95:
            master.redis.hdel(names.reserved_key("box-1"), SUMS)
        parts = sum((part.amounts for part in reservations.of("box-1")), Resources())
        told = reservations.sums("box-1")
        if master.redis.hexists(names.reserved_key("box-1"), SUMS) or not reservations.of("box-1"):
            assert told.memory_bytes == parts.memory_bytes
            assert told.cpu == pytest.approx(parts.cpu, abs=1e-9)
        assert parts.fits(Resources(cpu=1e9, memory_bytes=10**15))
    for item in reservations.of("box-1"):
        reservations.release("box-1", item.instance)
    assert not master.redis.exists(names.reserved_key("box-1"), names.expiring_key("box-1"))


def test_room_that_expired_is_given_to_who_asks_next(master: MasterContext) -> None:
    FakeBox(master, "box-1", capacity=Resources(cpu=1, memory_bytes=GIB))
    reservations = Reservations(master.redis)

    def wanted(name: str, expires_at: float) -> Reservation:
        return Reservation("box-1", name, 1, Resources(cpu=1), expires_at)

    now = time.time()
    assert reservations.take(wanted("i-1", now + 60)) == "reserved"
    assert reservations.take(wanted("i-2", now + 60)) == "full:cpu"
    assert reservations.take(wanted("i-1", now - 1)) == "reserved", "its own room counts as free for it"
    assert reservations.take(wanted("i-2", now + 60)) == "reserved"
    assert [item.instance for item in reservations.of("box-1")] == ["i-2"]


def test_without_redis_a_round_is_put_off(master: MasterContext, monkeypatch: pytest.MonkeyPatch) -> None:
    site(master, ("box-1", 1))
    deployment = request_deployment(master, add_user(master), "site", {})
    scheduler = Scheduler(master)

    def away(*_: object) -> list[str]:
        raise redis.ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(Reservations, "take_all", away)
        scheduler.place_waiting()
    assert states(master, [deployment]) == ["requested"]
    scheduler.place_waiting()
    assert states(master, [deployment]) == ["placed"]


def test_of_several_heralds_one_is_at_work_and_another_takes_over(master: MasterContext) -> None:
    (box,) = site(master, ("box-1", 1))
    heralds = [Herald(master.redis, every_s=0.05) for _ in range(2)]
    for herald in heralds:
        herald.start()
    try:
        wait_until(lambda: bool(master.redis.xlen(names.CHANGES)), what="a first word")
        entries = master.redis.xlen(names.CHANGES)
        box.beat(open=False)
        wait_until(lambda: master.redis.xlen(names.CHANGES) > entries, what="word of the change")
        assert master.redis.xlen(names.CHANGES) == entries + 1, "one tells it, not both"
        heralds[0].stop()
        entries = master.redis.xlen(names.CHANGES)
        wait_until(lambda: master.redis.xlen(names.CHANGES) > entries or _told(master, box), what="the other")
    finally:
        for herald in heralds:
            herald.stop()
    assert master.redis.get(names.WATCH_LOCK) is None


def _told(master: MasterContext, box: FakeBox) -> bool:
    """Change something and see whether anybody says so."""
    before = master.redis.xlen(names.CHANGES)
    box.beat(open=not box.status.open)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        if master.redis.xlen(names.CHANGES) > before:
            return True
    return False


def test_how_long_people_kept_an_application_says_when_one_ends(master: MasterContext) -> None:
    site(master, ("box-1", 1))
    user = add_user(master)
    deployments = [request_deployment(master, user, "site", {}) for _ in range(4)]
    now = time.time()
    with master.database.write() as session:
        for number, item in enumerate(deployments[:3]):
            deployment = session.get_one(Deployment, item.id)
            instance = deployment.instances[0]
            instance.state, deployment.wanted = "stopped", "stopped"
            deployment.ended_at = now
            add_row(session, master.redis, instance, "running", at=now - 600 * (number + 1))
            add_row(
                session, master.redis, instance, "running", at=now - 5
            )  # its box came back and said so again
        assert holding_times(session) == {"site": pytest.approx(1200.0)}
    scheduler = Scheduler(master)
    scheduler.run()
    waiting = request_deployment(master, user, "site", {})
    Scheduler(master).run()
    told = standings(master.redis, [waiting.instances[0].id])[waiting.instances[0].id]
    assert told.start == pytest.approx(now + 1200, abs=30), "long before the lease ends"
