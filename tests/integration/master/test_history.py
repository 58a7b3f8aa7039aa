"""Timelines become history: what starts took is learnt, shown beside what was predicted, and told to the fleet."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import select

from common.reports import Failed
from common.words import InstanceState, Resources, Role
from master.accounts.models import UserRole
from master.boxes.models import Box
from master.context import MasterContext
from master.deployments.events import add_row, set_state
from master.deployments.models import Instance
from master.deployments.services import request_deployment
from master.history.accuracy import accuracy
from master.history.predicted import in_words, write_prediction
from master.history.reading import HistoryReader
from master.lifecycle.reports import Reports
from master.scheduling.facts import BoxFacts
from master.scheduling.fleet import Fleet
from master.scheduling.request import Placement, Prediction
from master.web.app import create_app
from tests.support.master import (
    FakeBox,
    add_application,
    add_image,
    add_user,
    digest_of,
    image_digests,
    make_master,
)
from tests.support.redis import RedisServer
from tests.support.web import add_person, bearer

MB = 10**6


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    context = make_master(tmp_path, redis_server.url)
    image = add_image(context, "site:1")
    for name in ("a", "b"):
        FakeBox(context, name).hold(image_digests(image))
    add_application(context, "site", "site:1")
    return context


def start(master: MasterContext, *, predicted_s: float, took_s: float, runs: bool = True) -> str:
    """A start on box a that fetched 50 MB from box b in four seconds; returns the instance."""
    deployment = request_deployment(master, add_user(master, f"u{time.monotonic_ns()}"), "site", {})
    with master.database.write() as session:
        instance = session.get_one(Instance, deployment.instances[0].id)
        placed_at = time.time()
        instance.box_id, instance.variant_digest = "a", instance.image_digest
        instance.depositories = {digest_of("x"): ["a", "b"]}
        said = Prediction(fetch_s=predicted_s - 1.0, launch_s=1.0)
        placement = Placement("a", instance.image_digest, {}, {}, {}, 50 * MB, "why", said)
        write_prediction(session, master.redis, instance, placement)
        set_state(session, master.redis, instance, InstanceState.PLACED, "placed")
        if runs:
            add_row(
                session,
                master.redis,
                instance,
                "fetch",
                took_s=4.0,
                size_bytes=50 * MB,
                sources={"b": 50 * MB},
            )
            for step, seconds in (("create", 0.5), ("launch", 2.0), ("ready", 0.5)):
                add_row(session, master.redis, instance, step, took_s=seconds)
            set_state(
                session, master.redis, instance, InstanceState.RUNNING, "running", at=placed_at + took_s
            )
        return str(instance.id)


def fleet() -> Fleet:
    """Both boxes, on lines of 400 Mbit/s as they say."""
    room = Resources(cpu=4, bandwidth_bps=400 * MB)
    return Fleet.build([BoxFacts("a", capacity=room), BoxFacts("b", capacity=room)])


def test_what_starts_took_is_what_the_next_is_expected_to_take(master: MasterContext) -> None:
    for _ in range(20):
        start(master, predicted_s=2.0, took_s=7.0)
    known = fleet()
    HistoryReader(master.database).tell(known)
    assert 8 / known.s_per_byte[0] == pytest.approx(100 * MB)  # bits per second: 50 MB in four seconds
    with master.database.read() as session:
        image = session.scalars(select(Instance.image_digest)).first()
    assert known.launch_s(str(image)).tolist() == pytest.approx([3.0] * 4)
    assert known.distrust.tolist() == [0.0, 0.0]


def test_an_instance_that_was_handed_over_says_nothing_of_what_a_launch_takes(master: MasterContext) -> None:
    for _ in range(20):
        start(master, predicted_s=2.0, took_s=7.0)
        started = start(master, predicted_s=2.0, took_s=7.0, runs=False)
        with master.database.write() as session:
            instance = session.get_one(Instance, started)
            for step, seconds in (("wake", 0.02), ("ready", 0.2)):
                add_row(session, master.redis, instance, step, took_s=seconds)
            set_state(session, master.redis, instance, InstanceState.RUNNING, "running")
    known = fleet()
    HistoryReader(master.database).tell(known)
    with master.database.read() as session:
        image = session.scalars(select(Instance.image_digest)).first()
    assert known.launch_s(str(image)).tolist() == pytest.approx([3.0] * 4)


def test_a_box_that_was_lost_is_trusted_less_in_all_its_roles(master: MasterContext) -> None:
    known, reader = fleet(), HistoryReader(master.database)
    with master.database.write() as session:
        session.get_one(Box, "b").lost_at = time.time()
    reader.tell(known)
    assert known.distrust[0] == 0.0
    assert 0.0 < known.distrust[1] < 0.1  # once is nothing to be condemned for
    assert known.store_distrust[1] == known.distrust[1]
    assert reader._history.distrust("b", Role.DEPOSITORY, time.time()) > 0.0


def fail(master: MasterContext, reason: str, *, image_runs: bool = True, times: int = 1) -> HistoryReader:
    """Starts on box a, with files of box b and layers of box b, that failed for a reason."""
    if image_runs:
        start(master, predicted_s=2.0, took_s=3.0)
    for _ in range(times):
        name = start(master, predicted_s=2.0, took_s=3.0, runs=False)
        with master.database.write() as session:
            instance = session.get_one(Instance, name)
            add_row(session, master.redis, instance, "export", box_id="b", took_s=0.1)
        said = Failed(subject=name, generation=1, reason=reason, message="It did not come up.")  # type: ignore[arg-type]
        assert Reports(master).take("a", said.model_dump_json())
    reader = HistoryReader(master.database)
    reader.tell(fleet())
    return reader


@pytest.mark.parametrize(
    ("reason", "blamed"),
    [
        ("engine", ("a", Role.COMPUTE)),
        ("not-ready", ("a", Role.COMPUTE)),
        ("no-mount", ("b", Role.FILESTORE)),
        ("no-source", ("b", Role.DEPOSITORY)),
        ("bad-image", None),
    ],
)
def test_whoever_fails_a_start_is_trusted_less_in_that_role(
    master: MasterContext, reason: str, blamed: tuple[str, Role] | None
) -> None:
    history, now = fail(master, reason)._history, time.time()
    distrusted = {(box, role) for box in ("a", "b") for role in Role if history.distrust(box, role, now) > 0}
    assert distrusted == ({blamed} if blamed else set())


def test_an_application_that_has_never_come_up_anywhere_condemns_no_box(master: MasterContext) -> None:
    history = fail(master, "not-ready", image_runs=False, times=3)._history
    assert history.distrust("a", Role.COMPUTE, time.time()) == 0.0


def test_a_box_whose_launches_always_fail_is_chosen_after_the_others(master: MasterContext) -> None:
    known = fleet()
    fail(master, "engine")
    HistoryReader(master.database).tell(known)
    assert 0.0 < known.distrust[0] < 0.1, "one failure condemns nobody"
    fail(master, "engine", image_runs=False, times=9)
    HistoryReader(master.database).tell(known)
    assert known.distrust[0] > 0.4


def test_what_is_being_fetched_is_the_queue_of_the_next(master: MasterContext) -> None:
    start(master, predicted_s=2.0, took_s=3.0)
    start(master, predicted_s=2.0, took_s=3.0, runs=False)
    known = fleet()
    HistoryReader(master.database).tell(known)
    assert known.inbound_bytes.tolist() == [50 * MB, 0.0]
    assert known.outbound_bytes.tolist() == [0.0, 50 * MB]


def test_predicted_and_actual_stand_side_by_side(master: MasterContext) -> None:
    start(master, predicted_s=2.0, took_s=4.0)
    start(master, predicted_s=4.0, took_s=4.0)
    with master.database.read() as session:
        whole, site = accuracy(session)
    assert (whole.application, site.application) == ("", "site")
    assert whole.starts == 2
    assert (whole.predicted_s, whole.took_s) == (pytest.approx(3.0), pytest.approx(4.0, abs=0.1))
    assert whole.error == pytest.approx(0.25, abs=0.05)
    _, _, token = add_person(master, "olga", UserRole.OPERATOR)
    client = create_app(master).test_client()
    answer = client.get("/api/v1/history/accuracy", headers=bearer(token))
    assert [row["starts"] for row in answer.json["rows"]] == [2, 2]  # type: ignore[index]


def test_a_box_that_says_twice_that_it_runs_started_once(master: MasterContext) -> None:
    name = start(master, predicted_s=4.0, took_s=4.0)
    with master.database.write() as session:
        instance = session.get_one(Instance, name)
        add_row(session, master.redis, instance, "running", at=time.time() + 3600)
    with master.database.read() as session:
        whole, _ = accuracy(session)
    assert (whole.starts, whole.took_s) == (1, pytest.approx(4.0, abs=0.1))


def test_unpacking_is_learnt_apart_from_the_transfer(master: MasterContext) -> None:
    name = start(master, predicted_s=4.0, took_s=4.0, runs=False)
    with master.database.write() as session:
        instance = session.get_one(Instance, name)
        for step, took_s in (("fetch", 0.1), ("unpack", 4.0)):
            add_row(
                session, master.redis, instance, step, took_s=took_s, size_bytes=100 * MB * (step == "unpack")
            )
        set_state(session, master.redis, instance, InstanceState.RUNNING, "running")
        image = str(instance.image_digest)
    known = fleet()
    HistoryReader(master.database).tell(known)
    assert known.unpacking.of(image, 100 * MB, 0.0, 0) == 0.0  # box a ran it
    assert 2.0 < known.unpacking.of(image, 100 * MB, 0.0, 1) < 4.0


def test_a_prediction_names_only_the_parts_that_take_time() -> None:
    assert in_words(Prediction(fetch_s=1.23, launch_s=1.0)) == "layers 1.2 s, launch 1.0 s"
    assert in_words(Prediction(queue_s=3.0)) == "waiting for the line 3.0 s"
