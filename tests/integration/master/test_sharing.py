"""Sharing a session: invitations, who may come by them, and what the box is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient

from common.signing import Verifier
from common.tickets import OpenTicket, TicketChecker
from common.wishes import ComputeWish
from common.words import Endpoint, InstanceState, SessionMode
from master.accounts.models import GroupRole, UserRole, UserState
from master.accounts.services import find_user
from master.audit.services import Filter, list_entries
from master.catalogue.manifest import parse_manifest
from master.catalogue.services import publish
from master.context import MasterContext
from master.deployments.events import set_state
from master.deployments.models import Deployment
from master.lifecycle.wishes import compute_wish
from master.people.services import change_user
from master.web.app import create_app
from tests.support.master import FakeBox, make_master
from tests.support.redis import RedisServer
from tests.support.web import MANIFEST, add_person, add_to_group, bearer, box_with_image, csrf_token, sign_in

SHELL = {
    **MANIFEST,
    "name": "shell",
    "title": "Shell",
    "options": [],
    "services": {"main": {"image": "demo/notebook:1", "access": "terminal"}},
}


class Site:
    """A portal with two applications, the people who use it, and a box."""

    def __init__(self, context: MasterContext, box: FakeBox) -> None:
        self.context, self.box = context, box
        self.app = create_app(context)
        self.client = self.app.test_client()
        with context.database.write() as session:
            publish(session, parse_manifest(MANIFEST), None)
            publish(session, parse_manifest(SHELL), None)
        self.passwords = {}
        self.tokens = {}
        for name, role in (("ada", UserRole.USER), ("bob", UserRole.USER), ("olga", UserRole.OPERATOR)):
            _, self.passwords[name], self.tokens[name] = add_person(context, name, role)

    def call(self, who: str, method: str, path: str, body: object = None) -> Any:
        return self.client.open(f"/api/v1{path}", method=method, json=body, headers=bearer(self.tokens[who]))

    def run(self, application: str, **options: object) -> str:
        """A deployment of Ada's that runs on the box."""
        answer = self.call("ada", "POST", "/deployments", {"application": application, "options": options})
        deployment = str(answer.json["id"])
        with self.context.database.write() as session:
            instance = session.get_one(Deployment, deployment).instances[0]
            instance.box_id = "alpha"
            for state in (InstanceState.PLACED, InstanceState.PREPARING, InstanceState.RUNNING):
                set_state(session, self.context.redis, instance, state, state.value)
        return deployment

    def share(self, deployment: str, **body: object) -> dict[str, Any]:
        answer = self.call("ada", "POST", f"/deployments/{deployment}/shares", body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json
        return made

    def browser(self, who: str = "") -> FlaskClient:
        client = self.app.test_client()
        if who:
            sign_in(client, who, self.passwords[who])
        return client

    def ticket(self, url: str) -> OpenTicket:
        token = parse_qs(urlsplit(url).query)["ticket"][0]
        return TicketChecker(Verifier(self.context.signer.public_key)).check(token, OpenTicket)

    def wish(self, deployment: str) -> ComputeWish:
        with self.context.database.read() as session:
            wish = compute_wish(
                session, self.context, session.get_one(Deployment, deployment).instances[0]
            ).wish
        assert isinstance(wish, ComputeWish)
        return wish


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer) -> Site:
    context = make_master(tmp_path, redis_server.url)
    box = box_with_image(context)
    box.beat(front=Endpoint(host="127.0.0.1", port=1))
    return Site(context, box)


def entering(page: str) -> str:
    return page.split('http-equiv="refresh" content="0;url=')[1].split('"')[0].replace("&amp;", "&")


def test_a_guest_without_an_account_says_a_name_and_watches(site: Site) -> None:
    deployment = site.run("shell")
    share = site.share(deployment, mode="watch", label="Bob's screen")
    path = urlsplit(share["url"]).path
    guest = site.browser()
    page = guest.get(path).text
    assert "ada invites you to watch." in page
    assert guest.post(path, data={"csrf_token": csrf_token(page)}).status_code == 422
    answer = guest.post(path, data={"csrf_token": csrf_token(page), "name": "Grace"})
    ticket = site.ticket(entering(answer.text))
    assert (ticket.mode, ticket.name, ticket.share) == (SessionMode.WATCH, "Grace (guest)", share["id"])
    assert ticket.also == frozenset()
    assert ticket.session_until <= share["expires_at"]
    assert site.call("ada", "GET", f"/deployments/{deployment}/shares").json["shares"][0]["uses"] == 1


def test_the_owner_has_a_terminal_beside_the_application_and_nobody_else_has(site: Site) -> None:
    deployment = site.run("notebook", project="thesis")
    url = site.call("ada", "POST", f"/deployments/{deployment}/ticket?way=terminal").json["url"]
    ticket = site.ticket(url)
    assert (ticket.begin, ticket.also, ticket.name) == ("terminal", {"terminal"}, "ada")
    browser, instance = site.browser("ada"), ticket.instance
    answer = browser.get(f"/deployments/{deployment}/instances/{instance}/terminal")
    assert (answer.status_code, "/_openraas/enter?ticket=" in answer.location) == (303, True)
    stranger = site.browser("bob").get(f"/deployments/{deployment}/instances/{instance}/terminal")
    assert stranger.status_code == 404
    assert browser.get(f"/deployments/{deployment}/instances/i-none/terminal").status_code == 404


def test_an_invitation_for_people_with_an_account_asks_to_sign_in(site: Site) -> None:
    share = site.share(site.run("shell"), mode="control", needs_account=True)
    path = urlsplit(share["url"]).path
    assert "/sign-in?next=" in site.browser().get(path).location
    bob = site.browser("bob")
    answer = bob.post(path, data={"csrf_token": csrf_token(bob.get(path).text)})
    ticket = site.ticket(entering(answer.text))
    assert (ticket.mode, ticket.name) == (SessionMode.CONTROL, "bob")


def test_what_shows_its_own_pages_cannot_be_watched_and_says_so(site: Site) -> None:
    deployment = site.run("notebook", project="thesis")
    answer = site.call("ada", "POST", f"/deployments/{deployment}/shares", {"mode": "watch"})
    assert (answer.status_code, answer.json["field"]) == (422, "mode")
    assert "nobody can be kept from typing" in answer.json["message"]
    assert site.share(deployment, mode="control")["open"]


def test_an_ended_invitation_opens_nothing_and_the_box_is_told(site: Site) -> None:
    deployment = site.run("shell")
    share = site.share(deployment, mode="control")
    before = site.wish(deployment)
    for _ in range(2):
        answer = site.call("ada", "DELETE", f"/deployments/{deployment}/shares/{share['id']}")
        assert answer.status_code == 204
    after = site.wish(deployment)
    assert (before.ended_shares, after.ended_shares) == ([], [share["id"]])
    assert after.version == before.version + 1
    assert site.browser().get(urlsplit(share["url"]).path).status_code == 404
    assert site.call("ada", "DELETE", f"/deployments/{deployment}/shares/s-none").status_code == 404


def test_other_peoples_sessions_are_neither_shared_nor_joined(site: Site) -> None:
    deployment = site.run("shell")
    for method, path, body in (
        ("GET", "shares", None),
        ("POST", "shares", {"mode": "watch"}),
        ("GET", "people", None),
        ("DELETE", "shares/s-1", None),
    ):
        assert site.call("bob", method, f"/deployments/{deployment}/{path}", body).status_code == 404
    assert site.call("bob", "POST", f"/deployments/{deployment}/join", {"mode": "watch"}).status_code == 403


def test_who_may_joins_without_an_invitation_and_the_owner_sees_and_ends_it(site: Site) -> None:
    deployment = site.run("shell")
    answer = site.call("olga", "POST", f"/deployments/{deployment}/join", {"mode": "watch"})
    ticket = site.ticket(answer.json["url"])
    shares = site.call("ada", "GET", f"/deployments/{deployment}/shares").json["shares"]
    assert [(item["by"], item["by_link"], item["open"]) for item in shares] == [("olga", False, True)]
    assert ticket.share == shares[0]["id"]
    site.call("ada", "DELETE", f"/deployments/{deployment}/shares/{ticket.share}")
    assert site.wish(deployment).ended_shares == [ticket.share]


def test_whoever_may_not_sign_in_any_more_lets_nobody_in(site: Site) -> None:
    path = urlsplit(site.share(site.run("shell"), mode="watch")["url"]).path
    assert site.browser().get(path).status_code == 200
    with site.context.database.write() as session:
        change_user(session, find_user(session, "ada"), state=UserState.DISABLED)
    assert site.browser().get(path).status_code == 404


def test_the_secret_of_an_invitation_stands_neither_in_logs_nor_in_the_audit_log(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    path = urlsplit(site.share(site.run("shell"), mode="watch")["url"]).path
    bob = site.browser("bob")
    assert bob.post(path, data={"csrf_token": csrf_token(bob.get(path).text)}).status_code == 200
    with site.context.database.read() as session:
        entries = [
            entry for entry in list_entries(session, Filter(), limit=50) if entry.action == "share.join"
        ]
    assert [entry.after["by"] for entry in entries] == ["bob"]
    secret = path.rpartition("/")[2]
    assert secret not in f"{entries[0].subject} {entries[0].after}"
    assert secret not in capsys.readouterr().out


def test_whoever_comes_in_holds_up_nobody_who_writes_while_redis_is_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = site.run("shell")
    path = urlsplit(site.share(deployment, mode="watch")["url"]).path
    ask = site.context.redis.get

    def ask_slowly(key: str) -> Any:
        with site.context.database.write() as session:
            session.get_one(Deployment, deployment).title = "written meanwhile"
        return ask(key)

    bob = site.browser("bob")
    form = {"csrf_token": csrf_token(bob.get(path).text)}
    monkeypatch.setattr(site.context.redis, "get", ask_slowly)
    assert bob.post(path, data=form).status_code == 200
    assert site.call("olga", "POST", f"/deployments/{deployment}/join", {"mode": "watch"}).status_code == 200


def test_a_teacher_joins_the_people_of_the_class_who_are_told_and_may_end_it(site: Site) -> None:
    deployment = site.run("shell")
    join = f"/deployments/{deployment}/join"
    for person, role in (("bob", GroupRole.TEACHER), ("ada", GroupRole.MEMBER)):
        assert site.call("bob", "POST", join, {"mode": "watch"}).status_code == 403
        add_to_group(site.context, "class-1a", person, role)
    ticket = site.ticket(site.call("bob", "POST", join, {"mode": "control"}).json["url"])
    assert (ticket.name, ticket.mode) == ("bob (teacher)", SessionMode.CONTROL)
    shown = site.call("ada", "GET", f"/deployments/{deployment}").json["instances"][0]["timeline"]
    assert [row["detail"] for row in shown if row["step"] == "joined"] == [
        "bob (teacher) joined and may take control; you may end that under Share."
    ]
    assert "Somebody joined" in site.browser("ada").get(f"/deployments/{deployment}").text
    site.call("ada", "DELETE", f"/deployments/{deployment}/shares/{ticket.share}")
    assert site.wish(deployment).ended_shares == [ticket.share]


def test_a_teacher_reaches_nobody_with_a_role_by_adding_them_to_the_class(site: Site) -> None:
    add_to_group(site.context, "class-1a", "bob", GroupRole.TEACHER)
    add_to_group(site.context, "class-1a", "ada", GroupRole.MEMBER)
    deployment = site.run("shell")
    with site.context.database.write() as session:
        find_user(session, "ada").role = UserRole.OPERATOR.value
    answer = site.call("bob", "POST", f"/deployments/{deployment}/join", {"mode": "watch"})
    assert answer.status_code == 403
    assert "teachers may join the people of their groups" in answer.json["remedy"]


def test_the_page_makes_a_link_once_and_ends_it(site: Site) -> None:
    deployment = site.run("shell")
    browser = site.browser("ada")
    address = f"/deployments/{deployment}/share"
    page = browser.get(address).text
    assert "does not tell who is there" in page  # the box of this test is silent
    form = {"csrf_token": csrf_token(page), "mode": "watch", "lasts_s": "3600", "label": "For Bob"}
    made = browser.post(address, data=form).text
    assert "/join/" in made
    again = browser.get(address).text
    assert "/join/" not in again
    assert "For Bob" in again
    share = site.call("ada", "GET", f"/deployments/{deployment}/shares").json["shares"][0]["id"]
    ended = browser.post(
        f"{address}/{share}/end", data={"csrf_token": csrf_token(again)}, follow_redirects=True
    )
    assert "The invitation has ended" in ended.text
    assert "For Bob" not in ended.text


def test_a_deployment_that_has_ended_is_shared_no_more(site: Site) -> None:
    deployment = site.run("shell")
    share = site.share(deployment, mode="watch")
    site.call("ada", "POST", f"/deployments/{deployment}/stop")
    assert site.call("ada", "POST", f"/deployments/{deployment}/shares", {"mode": "watch"}).status_code == 409
    assert site.browser().get(urlsplit(share["url"]).path).status_code == 404
