"""Tokens for registry clients, and what depositories do with them on the master."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from common import names
from common.oci.manifests import OCI_MANIFEST
from common.signing import Verifier
from common.tickets import RepositoryTicket, TicketChecker
from master.context import MasterContext
from master.images import services
from tests.support.images import new_tag, push
from tests.support.master import FakeBox, make_master
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def portal(master: MasterContext) -> Portal:
    return Portal(master)


def ticket_of(portal: Portal, person: Person, scope: str, service: str = "") -> str:
    answer = person.call("GET", "/v2/token", query_string={"scope": scope, "service": service})
    assert answer.status_code == 200, answer.text
    return str(answer.json["token"])


def read(portal: Portal, token: str) -> RepositoryTicket:
    return TicketChecker(Verifier(portal.context.signer.public_key)).check(token, RepositoryTicket)


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def put_tag(portal: Portal, token: str, new: services.NewTag, box: str = "attic") -> int:
    body = {**vars(new), "blobs": [blob.model_dump() for blob in new.blobs], "box": box}
    answer = portal.client.put("/api/v1/images/tags", json=body, headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


def test_docker_login_works_with_an_api_token_as_password_and_not_without(portal: Portal) -> None:
    ada = portal.person("ada")
    good = portal.client.get("/v2/token?offline_token=true", headers=basic("ada", ada.token))
    assert good.status_code == 200
    assert good.json["access_token"] == good.json["token"]
    assert good.json["expires_in"] == 900
    assert read(portal, good.json["token"]).actions == {}
    for headers in ({}, basic("ada", "wrong"), basic("otto", ada.token), {"Authorization": "Basic !"}):
        answer = portal.client.get("/v2/token", headers=headers)
        assert answer.status_code == 401, headers
        assert answer.json["errors"][0]["code"] == "UNAUTHORIZED"
        assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_tokens_are_given_for_a_form_too(portal: Portal) -> None:
    ada = portal.person("ada")
    form = {
        "grant_type": "password", "username": "ada", "password": ada.token, "client_id": "containerd",
        "scope": "repository:ada/site:pull,push",
    }  # fmt: skip
    answer = portal.client.post("/v2/token", data=form)
    assert answer.status_code == 200, answer.text
    assert read(portal, answer.json["access_token"]).actions == {"ada/site": {"pull", "push"}}
    refresh = portal.client.post("/v2/token", data={"grant_type": "refresh_token"})
    assert (refresh.status_code, refresh.json["error"]) == (400, "unsupported_grant_type")


@pytest.mark.parametrize(
    ("role", "repository", "expected"),
    [
        ("user", "site", {"pull"}),
        ("user", "ada/site", {"pull", "push", "delete"}),
        ("user", "adam/site", {"pull"}),
        ("operator", "site", {"pull", "push", "delete"}),
        ("administrator", "team/deep/site", {"pull", "push", "delete"}),
    ],
)
def test_push_is_for_operators_and_below_the_own_name(
    portal: Portal, role: str, repository: str, expected: set[str]
) -> None:
    token = ticket_of(portal, portal.person("ada", role), f"repository:{repository}:pull,push,delete,other")
    assert read(portal, token).actions == {repository: expected}


def test_a_ticket_is_for_the_depository_that_asked(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    ada = portal.person("ada", "operator")
    scopes = "repository:a:pull repository:b/c:push registry:catalog:*"
    ticket = read(portal, ticket_of(portal, ada, scopes, "attic"))
    assert (ticket.box, ticket.actions) == ("attic", {"a": {"pull"}, "b/c": {"push"}})
    unknown = ada.call("GET", "/v2/token?service=nowhere")
    assert (unknown.status_code, unknown.json["errors"][0]["detail"]) == (400, "service")
    assert ada.call("GET", "/v2/token?scope=repository:../x:pull").status_code == 400


def test_a_depository_hands_a_tag_on_with_the_pushers_ticket(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    FakeBox(portal.context, "cellar")
    ada, otto = portal.person("ada"), portal.person("otto")
    new = new_tag("ada/site:1", b"one")
    assert put_tag(portal, ada.token, new) == 401, "an API token is no ticket"
    assert put_tag(portal, ticket_of(portal, otto, "repository:ada/site:pull,push"), new) == 403
    other_box = ticket_of(portal, ada, "repository:ada/site:push", "cellar")
    assert put_tag(portal, other_box, new) == 403
    token = ticket_of(portal, ada, "repository:ada/site:pull,push", "attic")
    assert put_tag(portal, token, new, box="nowhere") == 403
    assert put_tag(portal, token, new) == 204
    listed = otto.call("GET", "/api/v1/images").json["images"]
    assert [(item["repository"], item["tag"], item["digest"]) for item in listed] == [
        ("ada/site", "1", new.digest)
    ]


def test_tags_are_looked_up_with_a_ticket_or_signed_in_and_not_without(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    ada = portal.person("ada", "operator")
    image = push(portal.context, "attic", "demo/site:1.0", b"one")
    push(portal.context, "attic", "demo:site", b"two")
    path = "/api/v1/images/tags/demo/site"
    assert portal.client.get(f"{path}/1.0").status_code == 401
    found = ada.call("GET", f"{path}/1.0").json
    assert (found["digest"], found["media_type"]) == (image.digest, OCI_MANIFEST)
    both = ada.call("GET", path).json
    assert both["tags"] == ["1.0"]
    assert both["digest"] != image.digest, "the tag site of the repository demo"
    ticket = {"Authorization": f"Bearer {ticket_of(portal, ada, 'repository:demo/site:pull')}"}
    only = portal.client.get(path, headers=ticket).json
    assert (only["tags"], only["digest"]) == (["1.0"], None)
    assert portal.client.get("/api/v1/images/tags/demo", headers=ticket).status_code == 404
    assert ada.call("GET", f"{path}/2.0").status_code == 404


def test_tags_are_removed_by_those_who_may_push(portal: Portal) -> None:
    FakeBox(portal.context, "attic")
    push(portal.context, "attic", "demo/site:1.0", b"one")
    path = "/api/v1/images/tags/demo/site/1.0"
    assert portal.person("ada").call("DELETE", path).status_code == 403
    olga = portal.person("olga", "operator")
    assert olga.call("DELETE", path).status_code == 204
    assert olga.call("DELETE", path).status_code == 404
    assert portal.context.redis.exists(names.wish_key("attic")) == 0, "wishes are the reconciler's"
