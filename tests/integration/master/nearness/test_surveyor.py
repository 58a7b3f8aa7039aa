"""The map of boxes in Redis, the lists of peers, and what the scheduler makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from common import names
from common.peers import Peer, read_peers
from common.signing import Verifier
from common.words import Coordinate, Endpoint, distance_ms
from master.context import MasterContext
from master.nearness.map import read_map
from master.nearness.people import candidates
from master.nearness.surveyor import Surveyor
from master.scheduler.snapshot import Snapshot
from master.scheduling.fleet import Fleet
from master.scheduling.request import Place
from tests.support.master import FakeBox, add_user, make_master
from tests.support.redis import RedisServer

PLACES = {
    "a": Coordinate(height_ms=1),
    "b": Coordinate(x_ms=30, height_ms=1),
    "c": Coordinate(y_ms=40, height_ms=1),
}


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


def read_fleet(master: MasterContext) -> Fleet:
    """The fleet as a scheduler that starts now sees it."""
    snapshot = Snapshot(master.redis, master.database, resync_s=60.0)
    snapshot.update()
    return snapshot.fleet


def measured(master: MasterContext, number: int, name: str, place: Coordinate) -> FakeBox:
    """A box that has measured the other two."""
    trips = {other: distance_ms(place, there) for other, there in PLACES.items() if other != name}
    front = Endpoint(host=f"192.0.2.{number}", port=8090, tls=True)
    return FakeBox(master, name, coordinate=place, coordinate_error=0.1, round_trips_ms=trips, front=front)


@pytest.fixture
def boxes(master: MasterContext) -> dict[str, FakeBox]:
    return {
        name: measured(master, number, name, place) for number, (name, place) in enumerate(PLACES.items(), 1)
    }


def peers_of(master: MasterContext, box: str) -> list[Peer]:
    token = str(master.redis.get(names.peers_key(box)))
    return read_peers(Verifier(master.signer.public_key), box, token)


def survey(master: MasterContext) -> None:
    master.redis.delete(names.SURVEY_LOCK)
    assert Surveyor(master).run()


def test_each_box_is_told_of_the_others_where_they_answer_and_where_they_are(
    master: MasterContext, boxes: dict[str, FakeBox]
) -> None:
    survey(master)
    told = peers_of(master, "a")
    assert {peer.box: peer.coordinate for peer in told} == {"b": PLACES["b"], "c": PLACES["c"]}
    assert [peer.front.host for peer in told] == ["192.0.2.2", "192.0.2.3"]
    assert {peer.error for peer in told} == {0.1}


def test_boxes_on_the_masters_loopback_meet_none_of_other_machines(
    master: MasterContext, boxes: dict[str, FakeBox]
) -> None:
    FakeBox(master, "here")
    FakeBox(master, "here-too")
    survey(master)
    assert [peer.box for peer in peers_of(master, "here")] == ["here-too"]
    assert "here" not in {peer.box for peer in peers_of(master, "a")}


def test_a_box_sends_nobody_to_a_third_party(master: MasterContext, boxes: dict[str, FakeBox]) -> None:
    boxes["b"].beat(front=Endpoint(host="198.51.100.7", port=443, tls=True))
    boxes["c"].beat(front=Endpoint(host="192.0.2.3", port=80, tls=False))
    survey(master)
    assert peers_of(master, "a") == []
    assert {item.box for item in candidates(master, add_user(master), "")} == {"a"}


def test_the_map_is_drawn_once_in_a_while_however_many_ask(
    master: MasterContext, boxes: dict[str, FakeBox]
) -> None:
    survey(master)
    assert not Surveyor(master).run()


def test_a_silent_box_leaves_the_map(master: MasterContext, boxes: dict[str, FakeBox]) -> None:
    survey(master)
    assert set(read_map(master.redis).places) == set(PLACES)
    boxes["c"].go_silent()
    survey(master)
    assert set(read_map(master.redis).places) == {"a", "b"}


def test_the_scheduler_sees_the_places_that_are_believed(
    master: MasterContext, boxes: dict[str, FakeBox]
) -> None:
    liar = measured(master, 4, "liar", Coordinate(height_ms=0))
    for box in boxes.values():
        box.beat(round_trips_ms={**box.status.round_trips_ms, "liar": 60.0})
    liar.beat(round_trips_ms=dict.fromkeys(PLACES, 0.2))
    survey(master)
    fleet = read_fleet(master)
    there = fleet.distance_ms(Place.of(PLACES["a"]))
    away = {box: there[row] for box, row in fleet.row_of.items()}
    assert away["a"] == min(away.values())
    assert away["liar"] > away["b"]


def test_while_there_is_no_map_what_owners_typed_in_counts(master: MasterContext) -> None:
    FakeBox(master, "typed", coordinate=Coordinate(x_ms=9))
    FakeBox(master, "new", coordinate=Coordinate(x_ms=9), coordinate_error=1.0)
    fleet = read_fleet(master)
    assert {box: fleet.network.places[0, row] for box, row in fleet.row_of.items()} == {"typed": 9, "new": 0}


def test_schedulers_hear_of_boxes_that_moved_on_the_map(
    master: MasterContext, boxes: dict[str, FakeBox]
) -> None:
    snapshot = Snapshot(master.redis, master.database, resync_s=60.0)
    snapshot.update()
    survey(master)
    assert snapshot.update()
    survey(master)
    assert not snapshot.update()
