"""A page follows a deployment: server-sent events, what wakes them, and what they cost."""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI

from common.words import InstanceState
from master.accounts.models import UserRole
from master.catalogue.manifest import parse_manifest
from master.catalogue.services import publish
from master.context import MasterContext
from master.web import streams
from master.web.app import create_app
from tests.support.master import make_master
from tests.support.redis import RedisServer, wait_until
from tests.support.web import MANIFEST, add_person, box_with_image, launch, serve, sign_in, step


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def app(context: MasterContext) -> OpenAPI:
    return create_app(context)


@pytest.fixture
def client(app: OpenAPI, context: MasterContext) -> FlaskClient:
    """Ada's browser, with a notebook in the catalogue and a box that holds its image."""
    box_with_image(context)
    with context.database.write() as session:
        publish(session, parse_manifest(MANIFEST), None)
    client = app.test_client()
    sign_in(client, "ada", add_person(context, "ada", UserRole.OPERATOR)[1])
    return client


class Follower:
    """Reads a deployment's event stream as a browser does."""

    def __init__(self, address: str, cookie: str, path: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
        self._connection.request("GET", path, headers={"Cookie": f"openraas_session={cookie}"})
        self.answer = self._connection.getresponse()

    def next(self) -> tuple[str, str]:
        """The next event's name and data."""
        name, data = "", []
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data.append(line.removeprefix("data: "))
            elif not line and name:
                return name, "\n".join(data)

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def follow(address: str, client: FlaskClient, where: str) -> Follower:
    cookie = client.get_cookie("openraas_session")
    assert cookie is not None
    return Follower(address, cookie.value, f"{where}/events")


def test_the_page_follows_the_deployment_until_it_is_over(
    client: FlaskClient, app: OpenAPI, context: MasterContext
) -> None:
    where = launch(client)
    with serve(app) as address:
        follower = follow(address, client, where)
        assert follower.answer.getheader("Content-Type", "").startswith("text/event-stream")
        assert "state-requested" in follower.next()[1]
        for state in (InstanceState.PLACED, InstanceState.PREPARING, InstanceState.FAILED):
            step(context, where, state)
            name, html = follower.next()
            assert name == "change"
            assert f"It is {state.value} now." in html
        assert follower.next()[0] == "over"
        follower.close()


def test_a_lost_event_only_makes_the_page_late(
    client: FlaskClient, app: OpenAPI, context: MasterContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LOOK_EVERY_S", 0.5)
    where = launch(client)
    with serve(app) as address:
        follower = follow(address, client, where)
        follower.next()
        monkeypatch.setattr(context.redis, "publish", lambda *_: 0)
        step(context, where, InstanceState.PLACED)
        assert "It is placed now." in follower.next()[1]
        follower.close()


def test_the_page_is_followed_even_without_redis(
    client: FlaskClient, app: OpenAPI, context: MasterContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        def psubscribe(self, _: str) -> None:
            raise redis.ConnectionError("gone")

        def close(self) -> None:
            pass

    where = launch(client)
    monkeypatch.setattr(context.redis, "pubsub", lambda **_: Gone())
    with serve(app) as address:
        follower = follow(address, client, where)
        follower.next()
        step(context, where, InstanceState.PLACED)
        assert "It is placed now." in follower.next()[1]
        follower.close()


def test_no_more_pages_are_followed_than_there_is_room_for_and_one_that_goes_makes_room(
    client: FlaskClient, app: OpenAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(streams, "LOOK_EVERY_S", 0.1)
    where = launch(client)
    app.extensions[streams.SLOTS] = slots = streams.make_slots(1)
    with serve(app) as address:
        first = follow(address, client, where)
        first.next()
        second = follow(address, client, where)
        assert second.answer.status == 503
        first.close()
        # The master notices at its next heartbeat at the latest.
        wait_until(lambda: slots.acquire(blocking=False), 30, "a free stream")


def test_many_pages_are_followed_over_one_connection_to_redis(
    client: FlaskClient, app: OpenAPI, context: MasterContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscriptions: list[object] = []
    subscribe = context.redis.pubsub

    def counted(**options: object) -> object:
        subscriptions.append(options)
        return subscribe(**options)

    monkeypatch.setattr(context.redis, "pubsub", counted)
    places = [launch(client, key=f"k{number}") for number in range(3)]
    with serve(app) as address:
        followers = [follow(address, client, where) for where in (*places, *places)]
        for follower in followers:
            follower.next()
        for where in places:
            step(context, where, InstanceState.PLACED)
        for follower in followers:
            assert "It is placed now." in follower.next()[1]
            follower.close()
    assert len(subscriptions) == 1


def test_a_page_hears_again_after_redis_had_cut_the_subscription(
    client: FlaskClient, app: OpenAPI, context: MasterContext
) -> None:
    where = launch(client)
    with serve(app) as address:
        follower = follow(address, client, where)
        follower.next()
        bells = app.extensions[streams.BELLS]
        wait_until(lambda: bells.is_listening, 30, "the subscription")
        context.redis.client_kill_filter(_type="pubsub")
        step(context, where, InstanceState.PLACED)
        assert "It is placed now." in follower.next()[1]
        wait_until(lambda: bells.is_listening, 30, "the subscription")
        step(context, where, InstanceState.PREPARING)
        assert "It is preparing now." in follower.next()[1]
        follower.close()
