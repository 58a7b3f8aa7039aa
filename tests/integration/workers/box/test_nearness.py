"""A box measures round trips to real servers and finds its place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from common.names import peers_key
from common.peers import Peer, sign_peers
from common.vivaldi import ORIGIN
from common.words import Coordinate, Endpoint
from tests.support.box import TestBox, make_box
from tests.support.redis import RedisServer, free_port, wait_until
from workers.box.config import BoxConfig
from workers.box.nearness import Nearness
from workers.box.seen import SeenRoundTrips

BOX = "b1"


@contextmanager
def front(status: int = 204) -> Iterator[Endpoint]:
    """Stands for another box's front, which answers pings."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Endpoint(host="127.0.0.1", port=server.server_port)
        finally:
            server.shutdown()
            thread.join(5)


@pytest.fixture
def box(tmp_path: Path, redis_server: RedisServer) -> TestBox:
    return make_box(BoxConfig(box=BOX, state_dir=tmp_path, probe_every_s=0.05), redis_server)


def tell(box: TestBox, **fronts: Endpoint) -> None:
    """What the master does: a signed list of peers, all of them near the origin."""
    peers = [Peer(box=name, front=there, coordinate=ORIGIN, error=0.5) for name, there in fronts.items()]
    box.redis.set(peers_key(BOX), sign_peers(box.signer, BOX, peers))


def test_round_trips_to_peers_and_to_the_master_become_a_place(box: TestBox) -> None:
    nearness = Nearness(box.context)
    assert nearness.facts().error == 1.0
    with front() as one, front() as other:
        tell(box, b2=one, b3=other)
        nearness.start()
        try:
            wait_until(lambda: set(nearness.facts().round_trips_ms) == {"b2", "b3"}, what="both measured")
            wait_until(lambda: (nearness.facts().error or 1) < 1, what="a surer place")
        finally:
            nearness.stop()
    facts = nearness.facts()
    assert facts.coordinate != ORIGIN
    assert all(0 < trip < 1000 for trip in facts.round_trips_ms.values())
    assert facts.master_ms is not None


def test_a_restart_goes_on_from_the_last_place(box: TestBox) -> None:
    nearness = Nearness(box.context)
    with front() as one:
        tell(box, b2=one)
        nearness.measure()
    before = nearness.facts()
    after = Nearness(box.context).facts()
    assert (after.coordinate, after.error) == (before.coordinate, before.error)


def test_a_place_that_the_owner_typed_in_stays_and_round_trips_are_told(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    typed = Coordinate(x_ms=40, y_ms=2)
    box = make_box(BoxConfig(box=BOX, state_dir=tmp_path, coordinate=typed), redis_server)
    nearness = Nearness(box.context)
    with front() as one:
        tell(box, b2=one)
        nearness.measure()
    facts = nearness.facts()
    assert (facts.coordinate, facts.error) == (typed, None)
    assert set(facts.round_trips_ms) == {"b2"}


def test_a_peer_that_does_not_answer_keeps_nobody_from_being_measured(box: TestBox) -> None:
    nearness = Nearness(box.context)
    with front() as one, front(status=404) as stranger:
        tell(box, b2=Endpoint(host="127.0.0.1", port=free_port()), b3=one, b4=stranger)
        for _ in range(3):
            nearness.measure()
    assert set(nearness.facts().round_trips_ms) == {"b3"}


def test_a_list_that_the_master_did_not_sign_for_this_box_names_no_peer(box: TestBox) -> None:
    nearness = Nearness(box.context)
    with front() as one:
        peer = Peer(box="b2", front=one, coordinate=ORIGIN, error=0.5)
        box.redis.set(peers_key(BOX), sign_peers(box.signer, "another", [peer]))
        nearness.measure()
    assert nearness.facts().round_trips_ms == {}


def test_connections_of_layer_transfers_count_for_peers_alone(box: TestBox) -> None:
    nearness, seen = Nearness(box.context), SeenRoundTrips(box.context.table)
    tell(box, b2=Endpoint(host="127.0.0.1", port=free_port()))
    seen.note("b2", 7.0)
    seen.note("b2", 8.0)
    seen.note("stranger", 1.0)
    nearness.measure()
    assert nearness.facts().round_trips_ms == {"b2": 8.0}
    assert seen.take() == {}
