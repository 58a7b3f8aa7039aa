"""Where people are who ask for something, and that it decides where it runs."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from common import names
from common.vivaldi import Position
from common.words import Coordinate, Endpoint, Resources, distance_ms
from master.accounts.models import UserRole
from master.boxes.models import Box
from master.catalogue.manifest import parse_manifest
from master.catalogue.services import publish
from master.context import MasterContext
from master.deployments.models import Deployment, Instance
from master.deployments.services import request_deployment
from master.nearness.map import read_map, write_map
from master.nearness.models import Sighting
from master.nearness.people import (
    MOST_CANDIDATES,
    NETWORKS_KEPT,
    Near,
    Seen,
    candidates,
    locate_person,
    network_of,
    remember,
    spread,
)
from master.web.app import create_app
from tests.support.master import FakeBox, add_application, add_image, add_user, image_digests, make_master
from tests.support.portal import Portal
from tests.support.redis import RedisServer
from tests.support.scheduling import place_now
from tests.support.web import MANIFEST, add_person, box_with_image, csrf_token, sign_in

TOWNS = {
    "east": Coordinate(x_ms=40, height_ms=1),
    "north": Coordinate(y_ms=40, height_ms=1),
    "west": Coordinate(x_ms=-40, height_ms=1),
}
# As somebody near `west` measures them.
FROM_WEST = {"east": 84.0, "north": 61.0, "west": 4.0}
KEPT_S = 86400.0


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url, policy="nearest")


def draw(master: MasterContext, **places: Coordinate) -> None:
    write_map(master.redis, {box: Position(place, 0.1) for box, place in places.items()})


@pytest.fixture
def towns(master: MasterContext) -> dict[str, FakeBox]:
    """Three boxes that hold an image, on the map; an application that runs it."""
    image = add_image(master, "demo/site:1")
    add_application(master, "site", "demo/site:1")
    boxes = {}
    for number, name in enumerate(TOWNS, 1):
        front = Endpoint(host=f"192.0.2.{number}", port=8090, tls=True)
        room = Resources(cpu=8, memory_bytes=2**34, bandwidth_bps=10**8)
        boxes[name] = FakeBox(master, name, coordinate_error=0.1, front=front, capacity=room)
        boxes[name].hold(image_digests(image))
    draw(master, **TOWNS)
    return boxes


def placed(master: MasterContext, deployment: Deployment) -> Instance:
    instance = deployment.instances[0]
    assert place_now(master, instance.id, 1) == "placed"
    with master.database.read() as session:
        return session.get_one(Instance, instance.id)


def test_what_a_person_measured_decides_where_the_application_runs(
    master: MasterContext, towns: dict[str, FakeBox]
) -> None:
    ada = add_user(master)
    instance = placed(master, request_deployment(master, ada, "site", {}, seen=Seen("", FROM_WEST)))
    assert instance.box_id == "west"
    assert instance.reason is not None
    assert instance.reason.startswith("west is the nearest to you (4 ms, measured)")


def test_who_measured_nothing_is_where_that_network_was_last(
    master: MasterContext, towns: dict[str, FakeBox]
) -> None:
    ada, bob = add_user(master, "ada"), add_user(master, "bob")
    placed(master, request_deployment(master, ada, "site", {}, seen=Seen("203.0.113.7", FROM_WEST)))
    again = request_deployment(master, ada, "site", {}, seen=Seen("203.0.113.99"))
    assert placed(master, again).box_id == "west"
    # Somebody else there is believed to be there too; somebody elsewhere is not.
    beside = request_deployment(master, bob, "site", {}, seen=Seen("203.0.113.8"))
    assert placed(master, beside).box_id == "west"
    assert locate_person(master, bob, Seen("198.51.100.1")) == Near()


def test_of_a_person_that_nobody_located_the_reason_says_so(
    master: MasterContext, towns: dict[str, FakeBox]
) -> None:
    instance = placed(master, request_deployment(master, add_user(master), "site", {}))
    assert "nobody has measured where you are" in str(instance.reason)


def test_a_person_is_found_again_after_the_map_has_moved(
    master: MasterContext, towns: dict[str, FakeBox]
) -> None:
    ada, seen = add_user(master), Seen("203.0.113.7", FROM_WEST)
    with master.database.write() as session:
        remember(session, ada, seen, KEPT_S)
    moved = {
        box: place.model_copy(update={"x_ms": place.x_ms + 500, "y_ms": place.y_ms - 300})
        for box, place in TOWNS.items()
    }
    draw(master, **moved)
    found = locate_person(master, ada, Seen("203.0.113.7")).coordinate
    assert found is not None
    assert distance_ms(found, moved["west"]) == pytest.approx(4, abs=1)


def test_one_persons_lie_does_not_move_the_others_of_a_network(
    master: MasterContext, towns: dict[str, FakeBox]
) -> None:
    lie = {"east": 1.0, "north": 80.0, "mallorys-own": 0.1}
    for name in ("ada", "bob", "cyd", "mallory"):
        user, said = add_user(master, name), lie if name == "mallory" else FROM_WEST
        with master.database.write() as session:
            remember(session, user, Seen("203.0.113.7", said), KEPT_S)
    near = locate_person(master, add_user(master, "dan"), Seen("203.0.113.5"))
    assert near.round_trips_ms == FROM_WEST
    assert near.coordinate is not None
    assert distance_ms(near.coordinate, TOWNS["west"]) < 10


def test_what_is_remembered_of_a_person_is_bounded_in_number_and_age(master: MasterContext) -> None:
    ada = add_user(master)
    with master.database.write() as session:
        session.add(
            Sighting(user_id=ada.id, network="old", round_trips_ms={"west": 1.0}, at=time.time() - 2 * KEPT_S)
        )
    for number in range(NETWORKS_KEPT + 5):
        with master.database.write() as session:
            remember(session, ada, Seen(f"203.0.{number}.1", {"west": 1.0}), KEPT_S)
    with master.database.read() as session:
        kept = {row.network for row in session.query(Sighting)}
    assert kept == {f"203.0.{number}.0/24" for number in range(5, NETWORKS_KEPT + 5)}


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2::5", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("", ""),
        ("a name", ""),
    ],
)
def test_a_network_is_a_24_or_a_48(address: str, network: str) -> None:
    assert network_of(address) == network


def test_candidates_lie_far_from_each_other_and_the_first_near_the_person(
    master: MasterContext, towns: dict[str, FakeBox]
) -> None:
    for number in range(5):
        FakeBox(master, f"east-{number}", coordinate_error=0.1)
    crowd = {f"east-{number}": Coordinate(x_ms=41 + number, height_ms=1) for number in range(5)}
    draw(master, **TOWNS, **crowd)
    chosen = spread({**TOWNS, **crowd}, ["west"], random.Random(1))  # noqa: S311 - a map, not a secret
    assert len(chosen) == MOST_CANDIDATES
    assert chosen[0] == "west"
    assert chosen[1].startswith("east")
    assert chosen[2] == "north"
    ada = add_user(master)
    with master.database.write() as session:
        remember(session, ada, Seen("203.0.113.7", FROM_WEST), KEPT_S)
    assert candidates(master, ada, "203.0.113.7")[0].box == "west"


def test_a_box_of_ones_own_or_in_ones_own_network_is_measured_however_many_others_there_are(
    master: MasterContext, towns: dict[str, FakeBox]
) -> None:
    crowd = {f"b{number}": Coordinate(x_ms=1000 + 50 * number, height_ms=1) for number in range(12)}
    for name in crowd:
        FakeBox(master, name, coordinate_error=0.1)
    draw(master, **TOWNS, **crowd)
    ada, bob = add_user(master, "ada"), add_user(master, "bob")
    with master.database.write() as session:
        session.get_one(Box, "b5").owner_id = ada.id
    assert "b5" in {item.box for item in candidates(master, ada, "203.0.113.7")}
    beside = candidates(master, bob, "192.0.2.99")[0]
    assert beside.box in TOWNS


def test_a_box_on_ones_own_switch_is_near_although_its_line_is_long(master: MasterContext) -> None:
    image = add_image(master, "demo/site:1")
    add_application(master, "site", "demo/site:1")
    for name in ("home", "town"):
        FakeBox(master, name, coordinate_error=0.1).hold(image_digests(image))
    draw(master, home=Coordinate(height_ms=60), town=Coordinate(x_ms=1, height_ms=2))
    seen = Seen("", {"home": 0.3, "town": 62.0})
    instance = placed(master, request_deployment(master, add_user(master), "site", {}, seen=seen))
    assert instance.box_id == "home"
    assert "(0.3 ms, measured)" in str(instance.reason)


def test_without_a_map_the_box_that_was_measured_to_be_nearest_is_taken(
    master: MasterContext, towns: dict[str, FakeBox]
) -> None:
    master.redis.delete(names.PLACES)
    seen = Seen("", {"east": 30.0, "west": 4.0})
    instance = placed(master, request_deployment(master, add_user(master), "site", {}, seen=seen))
    assert instance.box_id == "west"


def test_boxes_that_are_silent_or_unstable_are_no_candidates(
    master: MasterContext, towns: dict[str, FakeBox]
) -> None:
    towns["east"].go_silent()
    towns["north"].beat(fixed=False)
    assert [item.box for item in candidates(master, add_user(master), "")] == ["west"]


def test_without_a_map_boxes_are_measured_and_people_are_nowhere(
    master: MasterContext, towns: dict[str, FakeBox]
) -> None:
    master.redis.delete(names.PLACES)
    ada = add_user(master)
    assert len(candidates(master, ada, "")) == 3
    near = locate_person(master, ada, Seen("", FROM_WEST))
    assert (near.coordinate, near.round_trips_ms) == (None, FROM_WEST)


def test_rest_names_candidates_and_takes_what_was_measured(
    master: MasterContext, towns: dict[str, FakeBox]
) -> None:
    ada = Portal(master).person("ada")
    found = ada.call("GET", "/api/v1/nearness/candidates").json["candidates"]
    assert {item["box"]: item["url"] for item in found} == {
        "east": "https://192.0.2.1:8090",
        "north": "https://192.0.2.2:8090",
        "west": "https://192.0.2.3:8090",
    }
    body = {"application": "site", "round_trips_ms": FROM_WEST}
    view = ada.call("POST", "/api/v1/deployments", json=body)
    assert view.status_code == 202, view.text
    instance = view.json["instances"][0]
    assert place_now(master, instance["id"], 1) == "placed"
    shown = ada.call("GET", f"/api/v1/deployments/{view.json['id']}").json["instances"][0]
    assert (shown["box"], shown["measured_ms"]) == ("west", 4.0)


@pytest.mark.parametrize(
    "round_trips",
    [
        {"west": 0},
        {"west": -3},
        {"west": 1e9},
        {"west": "near"},
        {"../etc": 3.0},
        {f"b{number}": 1.0 for number in range(MOST_CANDIDATES + 1)},
        [4.0],
    ],
)
def test_round_trips_that_are_none_are_refused_by_their_field(
    master: MasterContext, towns: dict[str, FakeBox], round_trips: object
) -> None:
    ada = Portal(master).person("ada")
    body = {"application": "site", "round_trips_ms": round_trips}
    answer = ada.call("POST", "/api/v1/deployments", json=body)
    assert answer.status_code == 422
    assert "round_trips_ms" in answer.json["field"]


def test_candidates_are_for_people_who_are_signed_in(master: MasterContext) -> None:
    assert create_app(master).test_client().get("/api/v1/nearness/candidates").status_code == 401


@pytest.fixture
def client(master: MasterContext) -> FlaskClient:
    """Ada's browser, with a notebook in the catalogue and a box that holds its image."""
    box_with_image(master)
    with master.database.write() as session:
        publish(session, parse_manifest(MANIFEST), None)
    client = create_app(master).test_client()
    sign_in(client, "ada", add_person(master, "ada", UserRole.USER)[1])
    return client


def test_the_form_may_reach_the_fronts_that_it_measures_and_no_others(
    master: MasterContext, client: FlaskClient
) -> None:
    FakeBox(master, "six", front=Endpoint(host="2001:db8::1", port=8090, tls=True))
    answer = client.get("/applications/notebook")
    policy = answer.headers["Content-Security-Policy"]
    assert "connect-src 'self' http://127.0.0.1:8090;" in policy
    assert "alpha" in answer.text.split("data-measure=")[1].split(">")[0]
    assert "connect-src 'self';" in client.get("/applications").headers["Content-Security-Policy"]


def test_what_the_form_measured_goes_with_the_request(master: MasterContext, client: FlaskClient) -> None:
    draw(master, alpha=Coordinate(height_ms=1))
    token = csrf_token(client.get("/applications/notebook").text)
    data = {"csrf_token": token, "key": "k", "option.project": "thesis"}
    sent = client.post("/applications/notebook", data={**data, "round_trips": json.dumps({"alpha": 7.5})})
    assert sent.status_code == 303, sent.text
    with master.database.read() as session:
        near = session.get_one(Deployment, sent.location.rsplit("/", 1)[-1]).near
    assert near is not None
    assert near["round_trips_ms"] == {"alpha": 7.5}
    assert near["coordinate"]["height_ms"] == pytest.approx(6.5)
    assert read_map(master.redis).places.keys() == {"alpha"}

    for bad in ("nonsense", '{"alpha": 0}', "[1]"):
        refused = client.post("/applications/notebook", data={**data, "key": "l", "round_trips": bad})
        assert refused.status_code == 422
        assert "round trips" in refused.text
