"""People come in, are approved, belong to groups, and hold tokens that may do less than they."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from master.accounts import services
from master.accounts.models import Scope, UserRole
from master.context import MasterContext
from tests.support.master import make_master
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer
from tests.support.web import add_person, csrf_token, sign_in


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def portal(context: MasterContext) -> Portal:
    return Portal(context)


@pytest.fixture
def boss(portal: Portal) -> Person:
    return portal.person("boss", "administrator")


@pytest.fixture
def ada(portal: Portal) -> Person:
    return portal.person("ada")


def browser(portal: Portal) -> FlaskClient:
    return portal.app.test_client()


def test_who_signs_up_waits_until_an_administrator_approves(portal: Portal, boss: Person) -> None:
    client = browser(portal)
    form = {"name": "eve", "password": "long enough now", "full_name": "Eve", "reason": "The course"}
    page = client.get("/sign-up").text
    answer = client.post("/sign-up", data={"csrf_token": csrf_token(page), **form})
    assert (answer.status_code, answer.location) == (303, "/sign-in")
    assert "waits for approval" in sign_in(client, "eve", "long enough now").text
    assert "Name and password do not" in sign_in(client, "eve", "something wrong").text
    waiting = boss.call("GET", "/api/v1/users?state=pending").json["users"]
    assert [(item["name"], item["reason"]) for item in waiting] == [("eve", "The course")]
    approved = boss.call("PATCH", "/api/v1/users/eve", json={"state": "active"})
    assert approved.json["state"] == "active"
    assert sign_in(client, "eve", "long enough now").status_code == 303


def test_signing_up_makes_nobody_more_than_a_user(portal: Portal, boss: Person) -> None:
    body = {"name": "eve", "password": "long enough now"}
    for more in ({"role": "administrator"}, {"state": "active"}, {"id": "u-1"}):
        refused = portal.client.post("/api/v1/sign-up", json={**body, **more})
        assert (refused.status_code, refused.json["field"]) == (422, next(iter(more)))
    client = browser(portal)
    data = {"csrf_token": csrf_token(client.get("/sign-up").text), **body, "role": "administrator"}
    assert client.post("/sign-up", data={**data, "state": "active"}).status_code == 303
    made = boss.call("GET", "/api/v1/users/eve").json
    assert (made["role"], made["state"]) == ("user", "pending")


def test_who_is_shut_out_while_waiting_was_approved_by_nobody(portal: Portal, boss: Person) -> None:
    portal.client.post("/api/v1/sign-up", json={"name": "eve", "password": "long enough now"})
    assert boss.call("PATCH", "/api/v1/users/eve", json={"state": "disabled"}).status_code == 200
    log = boss.call("GET", "/api/v1/audit?subject=user:eve&action=user").json["entries"]
    assert "user.change" in [entry["action"] for entry in log]
    assert "user.approve" not in [entry["action"] for entry in log]


def test_who_is_rejected_is_gone_and_nobody_else_can_be(portal: Portal, boss: Person, ada: Person) -> None:
    portal.client.post("/api/v1/sign-up", json={"name": "eve", "password": "long enough now"})
    assert boss.call("DELETE", "/api/v1/users/ada").status_code == 409
    assert boss.call("DELETE", "/api/v1/users/eve").status_code == 204
    assert boss.call("GET", "/api/v1/users/eve").status_code == 404


def test_where_signing_up_is_closed_nobody_signs_up(tmp_path: Path, redis_server: RedisServer) -> None:
    client = Portal(make_master(tmp_path, redis_server.url, sign_up="closed")).client
    body = {"name": "eve", "password": "long enough now"}
    assert client.post("/api/v1/sign-up", json=body).status_code == 403
    assert client.get("/sign-up").status_code == 404
    assert "/sign-up" not in client.get("/sign-in").text


def test_a_reset_link_works_once_and_ends_what_was_open(
    portal: Portal, boss: Person, context: MasterContext
) -> None:
    _, password, token = add_person(context, "eve")
    client = browser(portal)
    sign_in(client, "eve", password)
    url = boss.call("POST", "/api/v1/users/eve/reset-link").json["url"]
    path = url.removeprefix("http://localhost")
    assert client.get("/applications").status_code == 200
    page = client.get(path).text
    data = {"csrf_token": csrf_token(page), "code": path.split("code=")[1]}
    assert client.post("/reset", data={**data, "new": "short"}).status_code == 422
    assert client.post("/reset", data={**data, "new": "long enough now"}).status_code == 303
    assert client.get("/applications").status_code == 302
    assert portal.client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert client.get(path).status_code == 404
    assert sign_in(client, "eve", "long enough now").status_code == 303


def test_sign_ins_are_listed_with_their_browser_and_end_one_by_one(
    portal: Portal, context: MasterContext
) -> None:
    _, password, _ = add_person(context, "eve")
    first, second = browser(portal), browser(portal)
    first.environ_base["HTTP_USER_AGENT"] = "Lynx/2"
    sign_in(first, "eve", password)
    sign_in(second, "eve", password)
    own = {"Origin": "http://localhost"}
    listed = second.get("/api/v1/me/sessions").json["sessions"]
    other = next(item for item in listed if not item["current"])
    assert (other["browser"], len(listed)) == ("Lynx/2", 2)
    assert second.delete(f"/api/v1/me/sessions/{other['id']}", headers=own).status_code == 204
    assert first.get("/applications").status_code == 302
    assert second.get("/applications").status_code == 200


def test_signing_in_takes_no_cookie_that_somebody_else_chose(portal: Portal, context: MasterContext) -> None:
    _, password, _ = add_person(context, "eve")
    client = browser(portal)
    client.set_cookie("openraas_session", "planted")
    sign_in(client, "eve", password)
    first = client.get_cookie("openraas_session")
    assert first is not None
    assert first.value != "planted"
    # An older sign-in of the same browser is not left open.
    data = {"csrf_token": csrf_token(client.get("/boxes").text), "name": "eve", "password": password}
    assert client.post("/sign-in", data=data).status_code == 303
    with context.database.read() as session:
        user = services.find_user(session, "eve")
        assert len(services.list_sessions(session, user)) == 1


def test_a_person_changes_nothing_of_oneself_but_the_profile(ada: Person) -> None:
    good = {"full_name": "Ada", "time_zone": "Europe/Berlin", "language": "de"}
    assert ada.call("PATCH", "/api/v1/me", json=good).json["time_zone"] == "Europe/Berlin"
    for body in (
        {"role": "administrator"},
        {"state": "active"},
        {"name": "boss"},
        {"time_zone": "Mars/Base"},
    ):
        refused = ada.call("PATCH", "/api/v1/me", json=body)
        assert (refused.status_code, refused.json["field"]) == (422, next(iter(body)))


def test_a_token_does_what_its_scopes_say_and_no_more(ada: Person, portal: Portal) -> None:
    with portal.context.database.write() as session:
        tokens = {
            scope: services.issue_api_token(session, ada.user, scope.value, None, [scope]) for scope in Scope
        }
    calls = {
        ("GET", "/api/v1/deployments"): {Scope.READ, Scope.DEPLOY},
        ("POST", "/api/v1/deployments"): {Scope.DEPLOY},
        ("GET", "/deployments/d-1/open"): {Scope.DEPLOY},
        ("POST", "/api/v1/filesets"): {Scope.FILES},
        ("POST", "/api/v1/files/ticket"): {Scope.FILES},
        ("GET", "/api/v1/me/tokens"): {Scope.ACCOUNT},
        ("POST", "/api/v1/me/password"): {Scope.ACCOUNT},
        ("GET", "/api/v1/groups"): {Scope.PEOPLE, Scope.READ},
        ("PUT", "/api/v1/groups/x/members/ada"): {Scope.PEOPLE},
        ("DELETE", "/api/v1/boxes/x"): {Scope.FLEET},
        ("GET", "/api/v1/images/tags/demo"): {Scope.IMAGES, Scope.READ},
        ("DELETE", "/api/v1/images/tags/ada/demo/1"): {Scope.IMAGES},
        ("GET", "/v2/token"): {Scope.IMAGES},
        ("GET", "/account"): set(),
        ("GET", "/api/v1/me"): set(Scope),
    }
    for (method, path), wanted in calls.items():
        for scope, token in tokens.items():
            answer = portal.client.open(path, method=method, headers={"Authorization": f"Bearer {token}"})
            is_refused = answer.status_code == 403 and "scope" in answer.text
            assert is_refused == (scope not in {*wanted, Scope.ALL}), (method, path, scope, answer.text)


def test_a_token_makes_no_token_that_may_do_more(ada: Person, portal: Portal, context: MasterContext) -> None:
    body = {"name": "narrow", "scopes": ["account", "read"]}
    narrow = Person(ada.user, ada.call("POST", "/api/v1/me/tokens", json=body).json["token"], portal.client)
    for scopes in (["all"], ["read", "deploy"]):
        refused = narrow.call("POST", "/api/v1/me/tokens", json={"name": "wider", "scopes": scopes})
        assert (refused.status_code, refused.json["field"]) == (403, "scopes")
    # without scopes a token is asked for that may do everything
    assert narrow.call("POST", "/api/v1/me/tokens", json={"name": "wider"}).status_code == 403
    assert (
        narrow.call("POST", "/api/v1/me/tokens", json={"name": "same", "scopes": ["read"]}).status_code == 201
    )
    # a token is no password with which one could sign in for another
    sign_in_body = {"user": "ada", "password": narrow.token, "name": "wider"}
    assert portal.client.post("/api/v1/tokens", json=sign_in_body).status_code == 401
    assert sign_in(browser(portal), "ada", narrow.token).status_code == 401


def test_a_token_makes_none_that_holds_longer_than_itself(
    ada: Person, portal: Portal, context: MasterContext
) -> None:
    body = {"name": "short", "scopes": ["account"], "ttl_s": 3600}
    short = Person(ada.user, ada.call("POST", "/api/v1/me/tokens", json=body).json["token"], portal.client)
    for ttl_s in (None, 86400):
        made = short.call(
            "POST", "/api/v1/me/tokens", json={"name": "long", "scopes": ["account"], "ttl_s": ttl_s}
        )
        found = services.use_token(context.database, made.json["token"])
        assert found is not None
        assert found.expires_at is not None
        assert found.expires_at <= time.time() + 3600


def test_a_token_for_people_alone_takes_over_nobody_with_more_rights(boss: Person, portal: Portal) -> None:
    body = {"name": "desk", "scopes": ["people"]}
    desk = Person(boss.user, boss.call("POST", "/api/v1/me/tokens", json=body).json["token"], portal.client)
    assert desk.call("POST", "/api/v1/users", json={"name": "cleo"}).status_code == 201
    assert desk.call("POST", "/api/v1/users/cleo/reset").status_code == 200
    for method, path, json in (
        ("POST", "/api/v1/users", {"name": "dora", "role": "administrator"}),
        ("PATCH", "/api/v1/users/cleo", {"role": "operator"}),
        ("POST", f"/api/v1/users/{boss.user.name}/reset", None),
        ("POST", f"/api/v1/users/{boss.user.name}/reset-link", None),
    ):
        assert desk.call(method, path, json=json).status_code == 403, path


def test_teachers_look_after_members_and_administrators_after_teachers(
    portal: Portal, boss: Person, ada: Person
) -> None:
    tom, bob = portal.person("tom"), portal.person("bob")
    assert ada.call("POST", "/api/v1/groups", json={"name": "class"}).status_code == 403
    assert (
        boss.call("POST", "/api/v1/groups", json={"name": "class", "title": "The class"}).status_code == 201
    )
    members = "/api/v1/groups/class/members"
    assert boss.call("PUT", f"{members}/tom", json={"role": "teacher"}).status_code == 200
    assert tom.call("PUT", f"{members}/ada", json={}).status_code == 200
    assert tom.call("PUT", f"{members}/bob", json={"role": "teacher"}).status_code == 403
    assert tom.call("DELETE", f"{members}/tom").status_code == 403
    assert ada.call("PUT", f"{members}/bob", json={}).status_code == 403
    assert ada.call("PUT", f"{members}/ada", json={"role": "teacher"}).status_code == 403
    assert bob.call("GET", "/api/v1/groups/class").status_code == 404
    people = ada.call("GET", "/api/v1/groups/class").json["people"]
    assert [(item["name"], item["role"]) for item in people] == [("tom", "teacher"), ("ada", "member")]
    assert [item["name"] for item in bob.call("GET", "/api/v1/groups").json["groups"]] == []
    assert tom.call("DELETE", f"{members}/ada").status_code == 204
    assert boss.call("DELETE", "/api/v1/groups/class").status_code == 204
    assert tom.call("GET", "/api/v1/groups/class").status_code == 404


def test_every_page_of_people_is_there_for_administrators_alone(
    portal: Portal, context: MasterContext, boss: Person
) -> None:
    boss.call("POST", "/api/v1/groups", json={"name": "class"})
    boss.call(
        "PATCH", "/api/v1/limits/members:class", json={"cpu": 2, "memory_bytes": 2**30, "lease_s": 3600}
    )
    boss.call("PUT", "/api/v1/groups/class/members/boss", json={"role": "teacher"})
    _, password, _ = add_person(context, "root", UserRole.ADMINISTRATOR)
    _, other, _ = add_person(context, "eve")
    administrator, user = browser(portal), browser(portal)
    sign_in(administrator, "root", password)
    sign_in(user, "eve", other)
    found = "/audit?actor=boss&since=2020-01-01"
    for path in ("/users", "/users/eve", "/limits", "/limits?subject=members:class", "/audit", found):
        page = administrator.get(path)
        assert page.status_code == 200, path
        assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son\w+=", page.text), path
        assert user.get(path).status_code == 403
    assert "The class" not in administrator.get("/groups").text
    for path in ("/groups", "/groups/class", "/account"):
        assert administrator.get(path).status_code == 200, path
    assert user.get("/groups/class").status_code == 404


def test_administrators_do_it_all_on_the_pages(portal: Portal, context: MasterContext) -> None:
    _, password, _ = add_person(context, "root", UserRole.ADMINISTRATOR)
    portal.client.post("/api/v1/sign-up", json={"name": "eve", "password": "long enough now"})
    client = browser(portal)
    sign_in(client, "root", password)

    def send(path: str, **data: object) -> str:
        answer = client.post(path, data={"csrf_token": csrf_token(client.get("/users").text), **data})
        assert answer.status_code in (200, 303), answer.text
        return answer.text

    assert "eve" in client.get("/users").text
    send("/users/eve/approve")
    assert "/reset?code=" in send("/users/eve/link")
    send("/users/eve", full_name="Eve", email="", role="operator")
    send("/groups", name="class", title="The class")
    send("/groups/class/members", name="eve", role="teacher")
    send("/limits", subject="person:eve", deployments="2", memory_bytes="4GiB", lease_s="2h")
    assert "Deployments: 2 · Memory: 4 GiB · Longest run: 2 h" in re.sub(
        r"\s+", " ", client.get("/limits").text.replace("4.0", "4")
    )
    assert 'value="4294967296"' in client.get("/limits?subject=person:eve").text
    send("/limits/remove", subject="person:eve")
    log = client.get("/audit").text
    for action in ("user.approve", "user.make-reset-link", "group.set-member", "limit.set", "limit.remove"):
        assert action in log
