"""REST and pages: what is ready before people come, and how long it runs then."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from common.warm import warm_subject
from common.words import Resources
from master.accounts.models import UserRole
from master.catalogue.services import find_application
from master.context import MasterContext
from master.deployments.models import Deployment
from master.prewarming.planner import Planner
from master.web.app import create_app
from tests.support.master import GIB, FakeBox, add_image, image_digests, make_master
from tests.support.redis import RedisServer
from tests.support.scheduling import place_now
from tests.support.web import add_person, bearer

LAB = {
    "openraas": 1, "name": "lab", "title": "Lab", "lease": "1h", "lease_max": "2h",
    "services": {"main": {
        "image": "lab:1", "command": ["lab"], "port": 80, "prewarm": {}, "resources": {"disk": 0, "memory": "64MiB"},
    }},
}  # fmt: skip


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def box(context: MasterContext) -> FakeBox:
    made = FakeBox(context, "alpha", capacity=Resources(cpu=8, memory_bytes=8 * GIB))
    made.hold(image_digests(add_image(context, "lab:1")))
    return made


@pytest.fixture
def client(context: MasterContext) -> FlaskClient:
    return create_app(context).test_client()


class Caller:
    """One person's calls."""

    def __init__(self, client: FlaskClient, token: str) -> None:
        self._client = client
        self._headers = bearer(token)

    def __call__(self, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
        answer = self._client.open(f"/api/v1{path}", method=method, json=body, headers=self._headers)
        assert answer.status_code == status, answer.text
        return answer.json if answer.data else None

    def page(self, path: str, *, status: int = 200) -> str:
        answer = self._client.get(path, headers=self._headers)
        assert answer.status_code == status, answer.text
        return answer.text


@pytest.fixture
def operator(client: FlaskClient, context: MasterContext, box: FakeBox) -> Caller:
    made = Caller(client, add_person(context, "olga", UserRole.OPERATOR)[2])
    made("POST", "/applications", {"manifest": LAB}, status=201)
    return made


@pytest.fixture
def ada(client: FlaskClient, context: MasterContext) -> Caller:
    return Caller(client, add_person(context, "ada")[2])


def test_an_operator_says_how_many_wait_and_everybody_sees_how_many_do(
    operator: Caller, ada: Caller, context: MasterContext, box: FakeBox
) -> None:
    assert operator("GET", "/prewarmed") == {"prewarmed": []}
    operator("PUT", "/prewarmed/lab", {"count": 2})
    Planner(context).run()
    with context.database.read() as session:
        identity = find_application(session, "lab").id
    box.beat(prewarmed={warm_subject(identity): 1})
    (row,) = ada("GET", "/prewarmed")["prewarmed"]
    assert row == {
        "application": "lab", "title": "Lab", "wanted": 2, "is_ordered": True, "ready": 1,
        "boxes": [{"box": "alpha", "wanted": 2, "ready": 1}],
    }  # fmt: skip
    operator("DELETE", "/prewarmed/lab")
    assert operator("GET", "/prewarmed")["prewarmed"][0]["wanted"] == 0
    ada("PUT", "/prewarmed/lab", {"count": 2}, status=403)
    operator("PUT", "/prewarmed/lab", {"count": -1}, status=422)
    assert operator("PUT", "/prewarmed/nothing", {"count": 1}, status=404)["field"] == "application"


def test_the_timetable_takes_lines_and_parts_and_shows_what_is_next(operator: Caller, ada: Caller) -> None:
    body = {"entry": "Mon 08:00 lab x30", "zone": "Europe/Berlin"}
    first = operator("POST", "/timetable", body, status=201)
    assert (first["day"], first["time"], first["count"], first["by"]) == ("mon", "08:00", 30, "olga")
    assert first["next_at"] > time.time()
    operator("POST", "/timetable", {"application": "lab", "day": "2999-01-01", "time": "9:00"}, status=201)
    entries = operator("GET", "/timetable")["entries"]
    assert [entry["day"] for entry in entries] == ["mon", "2999-01-01"]
    assert "Europe/Berlin" in operator.page("/timetable")
    operator("DELETE", f"/timetable/{first['id']}", status=204)
    operator("DELETE", f"/timetable/{first['id']}", status=404)
    assert operator("POST", "/timetable", {"entry": "some day"}, status=422)["field"] == "entry"
    assert operator("POST", "/timetable", {"entry": "2001-01-01 08:00 lab"}, status=422)["field"] == "day"
    ada("POST", "/timetable", {"entry": "Mon 08:00 lab"}, status=403)
    ada.page("/timetable", status=403)


def test_a_person_extends_the_own_lease_until_it_is_as_long_as_it_may_be(
    operator: Caller, ada: Caller, context: MasterContext
) -> None:
    asked = ada("POST", "/deployments", {"application": "lab"}, status=202)
    path = f"/deployments/{asked['id']}"
    assert ada("POST", f"{path}/extend", {}, status=409)["field"] == "id"
    assert place_now(context, asked["instances"][0]["id"], 1) == "placed"
    before = ada("GET", path)
    assert before["latest_end"] == pytest.approx(before["lease_end"] + 3600, abs=5)
    after = ada("POST", f"{path}/extend", {"by_s": 600})
    assert after["lease_end"] == pytest.approx(before["lease_end"] + 600, abs=1)
    assert "Extend the lease" in ada.page(path)
    ada("POST", f"{path}/extend", {})
    assert "as long as it may be" in ada("POST", f"{path}/extend", {}, status=409)["message"]
    assert "Extend the lease" not in ada.page(path)
    ada("PUT", f"{path}/keep", {"kept": True}, status=403)
    assert operator("PUT", f"{path}/keep", {"kept": True})["is_kept"]
    assert "An operator keeps it" in ada.page(path)


def test_the_page_says_that_the_lease_ends_soon(
    operator: Caller, ada: Caller, context: MasterContext
) -> None:
    asked = ada("POST", "/deployments", {"application": "lab"}, status=202)
    assert place_now(context, asked["instances"][0]["id"], 1) == "placed"
    with context.database.write() as session:
        found = session.get_one(Deployment, asked["id"])
        found.lease_end = found.warned_for = time.time() + 300
    view = ada("GET", f"/deployments/{asked['id']}")
    assert view["ends_soon"]
    assert "It ends in" in ada.page(f"/deployments/{asked['id']}")
