"""The queue as people see it, on the page and by REST."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from common.words import InstanceState
from master.catalogue.manifest import parse_manifest
from master.catalogue.services import publish
from master.context import MasterContext
from master.deployments.events import set_state
from master.deployments.models import Deployment
from master.deployments.services import request_deployment
from master.nearness.people import Seen
from master.scheduler.standing import publish as tell_places
from tests.support.master import make_master
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer
from tests.support.web import MANIFEST, box_with_image


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    made = make_master(tmp_path, redis_server.url)
    box_with_image(made)
    with made.database.write() as session:
        publish(session, parse_manifest(MANIFEST), None)
    return made


def wait_for_room(context: MasterContext, person: Person, why: str) -> str:
    """A deployment that waits; gives its instance."""
    wanted = request_deployment(context, person.user, "notebook", {"project": "x"}, None, seen=Seen()).id
    with context.database.write() as session:
        instance = session.get_one(Deployment, wanted).instances[0]
        instance.reason = why
        set_state(session, context.redis, instance, InstanceState.QUEUED, "queued")
        return instance.id


def test_everybody_sees_the_queue_and_nobody_who_the_others_are(context: MasterContext) -> None:
    portal = Portal(context)
    ada, ben, olga = portal.person("ada"), portal.person("ben"), portal.person("olga", "operator")
    first, second = wait_for_room(context, ben, "No cores."), wait_for_room(context, ada, "No memory.")
    tell_places(context.redis, [second, first], {second: time.time() + 600, first: None})

    seen = ada.call("GET", "/api/v1/queue").json
    assert seen["waiting"] == 2
    assert [(item["place"], item["mine"], item["user"], item["reason"]) for item in seen["items"]] == [
        (1, True, "ada", "No memory."),
        (2, False, None, None),
    ]
    page = ada.call("GET", "/queue").text
    assert "in about 10 min" in page
    assert "somebody else&#39;s" in page or "somebody else's" in page
    assert "No cores." not in page
    assert {item["user"] for item in olga.call("GET", "/api/v1/queue").json["items"]} == {"ada", "ben"}


def test_an_empty_queue_says_so(context: MasterContext) -> None:
    ada = Portal(context).person("ada")
    assert "Nobody waits" in ada.call("GET", "/queue").text
    assert ada.call("GET", "/api/v1/queue").json == {"waiting": 0, "items": []}
