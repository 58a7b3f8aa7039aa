"""Small pictures of screens: who may look at which, and where a browser may get them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient

from common.names import status_key
from common.signing import Verifier
from common.tickets import PictureTicket, TicketChecker
from common.words import Endpoint, InstanceState
from master.accounts.models import GroupRole, UserRole
from master.context import MasterContext
from master.deployments.models import Deployment, Instance
from master.web.app import create_app
from tests.support.master import make_master
from tests.support.redis import RedisServer
from tests.support.web import MANIFEST, add_person, add_to_group, bearer, box_with_image

DESKTOP = {
    **MANIFEST,
    "name": "desktop",
    "services": {"lab": {**MANIFEST["services"]["lab"], "access": "desktop"}},
}


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def client(context: MasterContext) -> FlaskClient:
    return create_app(context).test_client()


def ask(client: FlaskClient, token: str, path: str) -> Any:
    return client.get(f"/api/v1{path}", headers=bearer(token))


def run(context: MasterContext, client: FlaskClient, token: str, application: str) -> str:
    """A deployment whose instance runs; gives the instance's id."""
    body = {"application": application, "options": {"project": "thesis", "password": "hush-hush"}}
    answer = client.post("/api/v1/deployments", json=body, headers=bearer(token))
    assert answer.status_code == 202, answer.text
    with context.database.write() as session:
        instance = session.get_one(Deployment, answer.json["id"]).instances[0]
        instance.state, instance.box_id = InstanceState.RUNNING.value, "alpha"
        return instance.id


def publish(context: MasterContext, client: FlaskClient) -> str:
    """`notebook`, which is a page, and `desktop`, which is a screen; gives an operator's token."""
    box_with_image(context).beat(front=Endpoint(host="127.0.0.1", port=8090))
    operator = add_person(context, "olga", UserRole.OPERATOR)[2]
    for manifest in (MANIFEST, DESKTOP):
        answer = client.post("/api/v1/applications", json={"manifest": manifest}, headers=bearer(operator))
        assert answer.status_code == 201, answer.text
    return operator


def test_everybody_sees_the_screens_of_their_own_and_operators_all(
    context: MasterContext, client: FlaskClient
) -> None:
    operator = publish(context, client)
    ada, ben = (add_person(context, name)[2] for name in ("ada", "ben"))
    run(context, client, ada, "notebook")
    instance = run(context, client, ada, "desktop")
    (mine,) = ask(client, ada, "/screens").json["screens"]
    assert (mine["instance"], mine["user"], mine["box"]) == (instance, "ada", "alpha")
    assert ask(client, ben, "/screens").json["screens"] == []
    assert ask(client, ben, "/screens?everybody=true").status_code == 403
    assert [one["instance"] for one in ask(client, operator, "/screens?everybody=true").json["screens"]] == [
        instance
    ]


def test_a_teacher_sees_the_screens_of_the_class_whose_people_are_told_once(
    context: MasterContext, client: FlaskClient
) -> None:
    publish(context, client)
    people = {name: add_person(context, name)[2] for name in ("tom", "ada", "ben", "eve")}
    for name, role in (("tom", GroupRole.TEACHER), ("ada", GroupRole.MEMBER), ("ben", GroupRole.MEMBER)):
        add_to_group(context, "class-1a", name, role)
    instances = {name: run(context, client, people[name], "desktop") for name in ("ada", "eve")}
    for _ in range(2):
        (screen,) = ask(client, people["tom"], "/screens?group=class-1a").json["screens"]
    assert (screen["instance"], screen["user"]) == (instances["ada"], "ada")
    assert ask(client, people["tom"], "/screens").json["screens"] == []
    assert ask(client, people["ben"], "/screens?group=class-1a").json["field"] == "group"
    assert ask(client, people["eve"], "/screens?group=class-1a").status_code == 404
    shown = ask(client, people["ada"], f"/deployments/{screen['deployment']}").json["instances"][0][
        "timeline"
    ]
    assert [row["detail"] for row in shown if row["step"] == "looked-at"] == [
        "tom looks at small pictures of this screen."
    ]


def test_the_teachers_page_leads_to_the_class_and_into_each_session(
    context: MasterContext, client: FlaskClient
) -> None:
    publish(context, client)
    tom, ada = add_person(context, "tom")[2], add_person(context, "ada")[2]
    add_to_group(context, "class-1a", "tom", GroupRole.TEACHER)
    add_to_group(context, "class-1a", "ada", GroupRole.MEMBER)
    run(context, client, ada, "desktop")
    assert "/screens?group=class-1a" in client.get("/screens", headers=bearer(tom)).text
    page = client.get("/screens?group=class-1a", headers=bearer(tom)).text
    assert "Take control" in page
    assert "/join" in page
    assert "Take control" not in client.get("/screens", headers=bearer(ada)).text


def test_a_pictures_address_opens_that_screen_for_some_minutes_and_nothing_else(
    context: MasterContext, client: FlaskClient
) -> None:
    publish(context, client)
    ada = add_person(context, "ada")[2]
    instance = run(context, client, ada, "desktop")
    (screen,) = ask(client, ada, "/screens").json["screens"]
    parts = urlsplit(screen["picture"])
    assert parts.netloc == "127.0.0.1:8090"
    assert parts.path == f"/_openraas/pictures/{instance}"
    checker = TicketChecker(Verifier(context.signer.public_key))
    ticket = checker.check(parse_qs(parts.query)["ticket"][0], PictureTicket)
    assert ticket.instance == instance
    assert time.time() < ticket.expires_at == screen["expires_at"] < time.time() + 900


def test_the_page_names_the_boxes_whose_pictures_it_shows_and_leaves_silent_ones_out(
    context: MasterContext, client: FlaskClient
) -> None:
    publish(context, client)
    ada = add_person(context, "ada")[2]
    run(context, client, ada, "desktop")
    page = client.get("/screens", headers=bearer(ada))
    assert page.status_code == 200
    assert "img-src 'self' data: http://127.0.0.1:8090;" in page.headers["Content-Security-Policy"]
    assert b"/_openraas/pictures/" in page.data
    context.redis.delete(status_key("alpha"))
    assert ask(client, ada, "/screens").json["screens"] == []
    assert b"No desktop runs" in client.get("/screens", headers=bearer(ada)).data


def test_the_page_of_a_deployment_shows_its_own_screens_to_its_owner_and_operators(
    context: MasterContext, client: FlaskClient
) -> None:
    operator = publish(context, client)
    ada = add_person(context, "ada")[2]
    other = run(context, client, ada, "desktop")
    instance = run(context, client, ada, "desktop")
    with context.database.read() as session:
        where = f"/deployments/{session.get_one(Instance, instance).deployment_id}"
    for token in (ada, operator):
        page = client.get(where, headers=bearer(token))
        assert f"/_openraas/pictures/{instance}" in page.text
        assert other not in page.text
        assert "img-src 'self' data: http://127.0.0.1:8090;" in page.headers["Content-Security-Policy"]
    part = client.get(where, headers={**bearer(ada), "X-Fragment": "1"})
    assert "/_openraas/pictures/" not in part.text
