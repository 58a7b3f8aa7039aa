"""What boxes were like: recorded by the master, kept in bounds, shown to whom it concerns."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import select

from common.names import samples_key
from common.status import MachineUse
from common.words import InstanceState, Resources
from master.boxes.models import Box
from master.context import MasterContext
from master.deployments.models import Instance, TimelineRow
from master.lifecycle.reconcile import Reconciler
from master.metrics import services
from master.metrics.models import BoxSample
from master.metrics.recorder import FINE_KEPT, Recorder
from tests.support.master import FakeBox, add_application, make_master
from tests.support.portal import Portal
from tests.support.redis import RedisServer
from tests.support.web import box_with_image

HOUR = 3600
BEGIN = int(time.time()) // HOUR * HOUR - 2 * HOUR


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


def pass_time(recorder: Recorder, begin: int, seconds: int) -> None:
    for moment in range(begin, begin + seconds, 10):
        recorder.run(moment)


def rows(master: MasterContext, step_s: int) -> list[BoxSample]:
    with master.database.read() as session:
        return list(
            session.scalars(select(BoxSample).where(BoxSample.step_s == step_s).order_by(BoxSample.at))
        )


def test_an_hour_becomes_fine_samples_five_minute_means_and_one_of_the_hour(master: MasterContext) -> None:
    box = FakeBox(master, "alpha")
    use = MachineUse(cpu=0.25, memory_bytes=10**9, memory_total_bytes=4 * 10**9, in_bps=8e6, out_bps=0)
    box.beat(machine=use, temperature_c=41.0)
    recorder = Recorder(master)
    pass_time(recorder, BEGIN, HOUR + 300)
    assert master.redis.llen(samples_key("alpha")) == FINE_KEPT
    assert master.redis.ttl(samples_key("alpha")) > HOUR
    middle, coarse = rows(master, 300), rows(master, 3600)
    assert [row.at for row in middle] == list(range(BEGIN, BEGIN + HOUR, 300))
    assert [row.at for row in coarse] == [BEGIN]
    assert (coarse[0].cpu, coarse[0].temperature_c, coarse[0].lent) == (
        pytest.approx(0.25),
        pytest.approx(41),
        1,
    )


def test_a_wiped_redis_and_a_restart_cost_the_fine_picture_alone(master: MasterContext) -> None:
    FakeBox(master, "alpha")
    pass_time(Recorder(master), BEGIN, 610)
    master.redis.delete(samples_key("alpha"))
    pass_time(Recorder(master), BEGIN + 610, 700)
    assert [row.at - BEGIN for row in rows(master, 300)] == [0, 300, 600, 900]
    with master.database.read() as session:
        found = services.series(session, master.redis, "alpha", 7 * 86400)
    assert (found.step_s, len(found.samples)) == (300, 4)


def test_of_two_processes_that_record_in_turn_none_writes_what_the_other_wrote(master: MasterContext) -> None:
    FakeBox(master, "alpha")
    one, other = Recorder(master), Recorder(master)
    for moment in range(BEGIN, BEGIN + 1300, 10):
        (one if moment // 200 % 2 else other).run(moment)
    assert [row.at - BEGIN for row in rows(master, 300)] == [0, 300, 600, 900]


def test_a_box_that_tells_of_absurd_figures_stops_no_round_of_the_reconciler(master: MasterContext) -> None:
    FakeBox(master, "alpha").beat(temperature_c=1e300, used=Resources(cpu=1e300))
    FakeBox(master, "beta")
    assert Reconciler(master).run()
    assert {box: master.redis.llen(samples_key(box)) for box in ("alpha", "beta")} == {"alpha": 1, "beta": 1}


def test_a_silent_box_leaves_a_gap_and_counts_as_not_lent(master: MasterContext) -> None:
    box = FakeBox(master, "alpha")
    recorder = Recorder(master)
    pass_time(recorder, BEGIN, 150)
    box.go_silent()
    pass_time(recorder, BEGIN + 150, 500)
    (row,) = rows(master, 300)
    assert (row.at, row.lent, row.up) == (BEGIN, pytest.approx(0.5), pytest.approx(0.5))


def test_what_is_old_goes(master: MasterContext) -> None:
    FakeBox(master, "alpha")
    recorder = Recorder(master)
    pass_time(recorder, BEGIN - 40 * 86400, 2 * 300)
    pass_time(recorder, BEGIN, 2 * 300)
    assert [row.at for row in rows(master, 300)] == [BEGIN]


def test_a_box_is_shown_with_its_past_and_what_ran_there(master: MasterContext) -> None:
    box = box_with_image(master, "alpha", "demo/site:1")
    FakeBox(master, "beta")
    add_application(master, "site", "demo/site:1")
    portal = Portal(master)
    ada, eve = portal.person("ada"), portal.person("eve")
    operator = portal.person("oda", "operator")
    with master.database.write() as session:
        session.get_one(Box, "alpha").owner_id = ada.user.id
    run = eve.call("POST", "/api/v1/deployments", json={"application": "site"}).json
    with master.database.write() as session:
        instance = session.scalars(select(Instance).where(Instance.deployment_id == run["id"])).one()
        instance.state, instance.box_id = InstanceState.RUNNING.value, "alpha"
        for step, place, state, sources in (
            ("running", "alpha", "running", {}),
            ("fetch", "beta", "preparing", {"alpha": 1000, "gamma": 5}),
            ("fetch", "alpha", "preparing", {"alpha": 7}),
        ):
            session.add(
                TimelineRow(
                    instance_id=instance.id, generation=1, at=time.time(), state=state, step=step,
                    box_id=place, sources=sources,
                )
            )  # fmt: skip
    recorder = Recorder(master)
    pass_time(recorder, int(time.time()) - 700, 700)
    box.beat()
    series = eve.call("GET", "/api/v1/boxes/alpha/metrics?since=1h").json
    assert (series["step_s"], len(series["samples"]) > 60) == (10, True)
    (told,) = ada.call("GET", "/api/v1/boxes/alpha/runs").json["runs"]
    assert (told["application"], told["own"], told["deployment"]) == ("Site", False, None), "what, not who"
    assert operator.call("GET", "/api/v1/boxes/alpha/runs").json["runs"][0]["deployment"] == run["id"]
    given = ada.call("GET", "/api/v1/boxes/alpha/given?since=7d").json
    assert (given["starts"], given["served_bytes"]) == (1, 1000), "what it says of itself does not count"
    assert given["lent_h"] > 0.05
    assert eve.call("GET", "/api/v1/boxes/alpha/runs").status_code == 403
    assert eve.call("GET", "/api/v1/boxes/alpha/given").status_code == 403
    assert ada.call("GET", "/api/v1/boxes/alpha/metrics?since=400d").status_code == 422
    for length in ("1h", "1d", "7d", "31d", "nonsense"):
        page = ada.call("GET", f"/boxes/alpha?range={length}")
        assert page.status_code == 200
        assert "What ran here" in page.text
    assert "<svg" in ada.call("GET", "/boxes/alpha").text
    assert "What ran here" not in eve.call("GET", "/boxes/alpha").text


def test_the_owner_takes_a_box_back_and_what_ran_begins_again_elsewhere(master: MasterContext) -> None:
    box_with_image(master, "alpha", "demo/site:1")
    add_application(master, "site", "demo/site:1")
    portal = Portal(master)
    ada, eve = portal.person("ada"), portal.person("eve")
    with master.database.write() as session:
        session.get_one(Box, "alpha").owner_id = ada.user.id
    run = eve.call("POST", "/api/v1/deployments", json={"application": "site"}).json
    with master.database.write() as session:
        instance = session.scalars(select(Instance).where(Instance.deployment_id == run["id"])).one()
        instance.state, instance.box_id = InstanceState.RUNNING.value, "alpha"
    assert eve.call("POST", "/api/v1/boxes/alpha/drain", json={}).status_code == 403
    assert ada.call("POST", "/api/v1/boxes/alpha/drain", json={}).json == {"moved": 1}
    told = eve.call("GET", f"/api/v1/deployments/{run['id']}").json["instances"][0]
    assert (told["state"], told["generation"]) == ("requested", 2)
    assert ada.call("GET", "/api/v1/boxes/alpha").json["cordoned"] is True


def test_a_person_adds_a_machine_of_their_own_where_that_is_allowed(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    portal = Portal(make_master(tmp_path / "yes", redis_server.url))
    ada = portal.person("ada")
    token = ada.call("POST", "/api/v1/boxes/own-token", json={}).json["token"]
    assert len(token.split(".")[0]) == 64
    for _ in range(4):
        assert ada.call("POST", "/api/v1/boxes/own-token", json={}).status_code == 201
    assert ada.call("POST", "/api/v1/boxes/own-token", json={}).status_code == 429
    closed = Portal(make_master(tmp_path / "no", redis_server.url, people_add_boxes=False))
    assert closed.person("ada").call("POST", "/api/v1/boxes/own-token", json={}).status_code == 403
    assert (
        closed.person("oda", "operator").call("POST", "/api/v1/boxes/own-token", json={}).status_code == 201
    )
