"""REST: applications and deployments, and the one shape of errors."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from flask.testing import FlaskClient

from common.names import status_key
from common.signing import Verifier
from common.tickets import OpenTicket, TicketChecker
from common.words import Endpoint, InstanceState
from master.accounts.models import UserRole
from master.context import MasterContext
from master.deployments.models import Deployment
from master.scheduler.service import Scheduler
from master.web.app import create_app
from tests.support.master import make_master
from tests.support.redis import RedisServer
from tests.support.web import MANIFEST, add_person, bearer, box_with_image

GOOD = {"application": "notebook", "options": {"project": "thesis", "password": "hush-hush"}}


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


class Caller:
    """One person's calls."""

    def __init__(self, client: FlaskClient, token: str) -> None:
        self._client = client
        self._token = token

    def __call__(self, method: str, path: str, *, status: int = 200, **options: Any) -> Any:
        headers = {**bearer(self._token), **options.pop("headers", {})}
        answer = self._client.open(f"/api/v1{path}", method=method, headers=headers, **options)
        assert answer.status_code == status, answer.text
        return answer.json if answer.data else None


@pytest.fixture
def client(context: MasterContext) -> FlaskClient:
    return create_app(context).test_client()


@pytest.fixture
def operator(client: FlaskClient, context: MasterContext) -> Caller:
    return Caller(client, add_person(context, "olga", UserRole.OPERATOR)[2])


@pytest.fixture
def ada(client: FlaskClient, context: MasterContext) -> Caller:
    return Caller(client, add_person(context, "ada")[2])


@pytest.fixture
def notebook(operator: Caller, context: MasterContext) -> None:
    box_with_image(context)
    operator("POST", "/applications", json={"manifest": MANIFEST}, status=201)


def set_running(context: MasterContext, deployment: str, box: str = "alpha") -> str:
    with context.database.write() as session:
        instance = session.get_one(Deployment, deployment).instances[0]
        instance.state, instance.box_id = InstanceState.RUNNING.value, box
        return instance.id


def test_an_operator_publishes_replaces_and_removes_an_application(operator: Caller, ada: Caller) -> None:
    operator("POST", "/applications", json={"manifest": yaml.safe_dump(MANIFEST)}, status=201)
    operator("POST", "/applications", json={"manifest": {**MANIFEST, "title": "Better"}}, status=201)
    listed = ada("GET", "/applications")["applications"]
    assert [(item["name"], item["title"]) for item in listed] == [("notebook", "Better")]
    assert ada("GET", "/applications/notebook")["manifest"]["services"]["lab"]["port"] == 8888
    ada("DELETE", "/applications/notebook", status=403)
    operator("DELETE", "/applications/notebook", status=204)
    assert ada("GET", "/applications/notebook", status=404)["field"] == "application"


def test_a_wrong_manifest_is_refused_by_the_name_of_its_key(operator: Caller) -> None:
    answer = operator("POST", "/applications", json={"manifest": {**MANIFEST, "colour": "red"}}, status=422)
    assert (answer["error"], answer["field"]) == ("bad-input", "colour")


def test_a_deployment_is_accepted_at_once(ada: Caller, notebook: None) -> None:
    made = ada("POST", "/deployments", json=GOOD, status=202)
    assert made["state"] == "requested"
    assert made["options"] == {"cores": 2, "project": "thesis", "examples": True}
    assert [row["step"] for row in made["instances"][0]["timeline"]] == ["requested"]
    assert ada("GET", f"/deployments/{made['id']}")["id"] == made["id"]


def test_a_secret_option_is_answered_nowhere(ada: Caller, notebook: None, context: MasterContext) -> None:
    made = ada("POST", "/deployments", json=GOOD, status=202)
    answers = [ada("GET", f"/deployments/{made['id']}")]
    answers.append(ada("GET", f"/deployments/{made['id']}/logs", status=409))
    assert "hush-hush" not in json.dumps([made, *answers])


def test_the_same_key_starts_one_deployment(ada: Caller, notebook: None) -> None:
    key = {"Idempotency-Key": "once"}
    first, second = (ada("POST", "/deployments", json=GOOD, headers=key, status=202) for _ in range(2))
    assert first["id"] == second["id"]
    assert len(ada("GET", "/deployments")["deployments"]) == 1


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"application": "nothing"}, 404, "application"),
        ({"options": {}}, 422, "application"),
        ({**GOOD, "options": {"project": "thesis", "cores": 9}}, 422, "options.cores"),
        ({**GOOD, "options": {"project": "thesis", "cores": [1]}}, 422, "options.cores"),
        ({**GOOD, "options": {"project": "No!"}}, 422, "options.project"),
        ({**GOOD, "options": {"project": "a", "colour": "red"}}, 422, "options.colour"),
        ({**GOOD, "options": "none"}, 422, "options"),
        ([], 422, "body"),
    ],
)
def test_bad_input_names_its_field_and_leaves_nothing(
    ada: Caller, notebook: None, body: object, status: int, field: str
) -> None:
    answer = ada("POST", "/deployments", json=body, status=status)
    assert set(answer) == {"error", "message", "field", "remedy"}
    assert answer["field"] == field
    assert ada("GET", "/deployments")["deployments"] == []


def test_a_body_that_is_not_json_is_told_so(ada: Caller, notebook: None) -> None:
    answer = ada("POST", "/deployments", data="{", content_type="application/json", status=422)
    assert "JSON" in answer["message"]


@pytest.mark.parametrize(
    "data",
    [
        '{"application": "notebook", "options": {"project": "a\\ud800"}}',
        '{"application": "notebook", "options": {"\\udfff": "a"}}',
        "[" * 100_000,
    ],
)
def test_a_body_that_nobody_could_keep_is_refused(ada: Caller, notebook: None, data: str) -> None:
    answer = ada("POST", "/deployments", data=data, content_type="application/json", status=422)
    assert answer["field"] == "body"
    assert ada("GET", "/deployments")["deployments"] == []


def test_a_page_beyond_all_counting_is_refused_in_words(ada: Caller) -> None:
    assert ada("GET", f"/deployments?offset={10**30}", status=422)["field"] == "offset"


def test_an_image_that_no_box_holds_is_named(ada: Caller, operator: Caller) -> None:
    operator("POST", "/applications", json={"manifest": MANIFEST}, status=201)
    assert "demo/notebook:1" in ada("POST", "/deployments", json=GOOD, status=404)["message"]


def test_a_deployment_is_its_owners_alone(
    client: FlaskClient, ada: Caller, operator: Caller, notebook: None, context: MasterContext
) -> None:
    made = ada("POST", "/deployments", json=GOOD, status=202)
    bob = Caller(client, add_person(context, "bob")[2])
    for method, part in (
        ("GET", ""),
        ("POST", "/stop"),
        ("DELETE", ""),
        ("POST", "/ticket"),
        ("GET", "/logs"),
    ):
        bob(method, f"/deployments/{made['id']}{part}", status=404)
    refused = bob("GET", "/deployments?everybody=true", status=403)
    assert refused["field"] == "everybody"
    assert len(operator("GET", "/deployments?everybody=true")["deployments"]) == 1


def test_lists_come_in_pages(ada: Caller, notebook: None) -> None:
    made = [ada("POST", "/deployments", json=GOOD, status=202)["id"] for _ in range(3)]
    first = ada("GET", "/deployments?limit=2")["deployments"]
    rest = ada("GET", "/deployments?limit=2&offset=2")["deployments"]
    assert [item["id"] for item in first + rest] == made[::-1]
    assert ada("GET", "/deployments?limit=0", status=422)["field"] == "limit"


def test_stopping_twice_does_no_harm(ada: Caller, notebook: None) -> None:
    made = ada("POST", "/deployments", json=GOOD, status=202)
    for call in (("POST", "/stop"), ("DELETE", "")):
        answer = ada(call[0], f"/deployments/{made['id']}{call[1]}", status=202)
        assert answer["wanted"] == "stopped"


def test_a_ticket_opens_this_instance_for_this_person(
    ada: Caller, notebook: None, context: MasterContext
) -> None:
    made = ada("POST", "/deployments", json=GOOD, status=202)
    assert ada("POST", f"/deployments/{made['id']}/ticket", status=409)["error"] == "conflict"
    instance = set_running(context, made["id"])
    address = urlsplit(ada("POST", f"/deployments/{made['id']}/ticket")["url"])
    assert (address.hostname, address.port, address.path) == (
        f"{instance}.localhost",
        8090,
        "/_openraas/enter",
    )
    token = parse_qs(address.query)["ticket"][0]
    ticket = TicketChecker(Verifier(context.signer.public_key)).check(token, OpenTicket)
    assert ticket.instance == instance
    assert ticket.expires_at <= time.time() + context.settings.ticket_s


def test_away_from_loopback_the_name_says_the_box_and_speaks_tls(
    ada: Caller, operator: Caller, context: MasterContext
) -> None:
    box = box_with_image(context)
    box.beat(front=Endpoint(host="192.0.2.7", port=8443, tls=True))
    operator("POST", "/applications", json={"manifest": MANIFEST}, status=201)
    made = ada("POST", "/deployments", json=GOOD, status=202)
    instance = set_running(context, made["id"])
    url = ada("POST", f"/deployments/{made['id']}/ticket")["url"]
    assert url.startswith(f"https://{instance}.alpha.localhost:8443/")


def test_a_silent_box_is_named(ada: Caller, operator: Caller, context: MasterContext) -> None:
    box = box_with_image(context)
    operator("POST", "/applications", json={"manifest": MANIFEST}, status=201)
    made = ada("POST", "/deployments", json=GOOD, status=202)
    set_running(context, made["id"])
    box.go_silent()
    assert "alpha" in ada("POST", f"/deployments/{made['id']}/ticket", status=503)["message"]


def test_a_box_that_says_what_nobody_can_read_is_named(
    ada: Caller, notebook: None, context: MasterContext
) -> None:
    deployment = ada("POST", "/deployments", json=GOOD, status=202)["id"]
    set_running(context, deployment)
    context.redis.set(status_key("alpha"), '{"box": "alpha"}')
    answer = ada("POST", f"/deployments/{deployment}/ticket", status=503)
    assert "alpha" in answer["message"]


def test_every_call_is_described(client: FlaskClient) -> None:
    described = client.get("/api/v1/openapi.json").json["paths"]
    rules = {
        rule.rule.replace("<", "{").replace(">", "}").replace("{path:", "{")
        for rule in client.application.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/") and rule.endpoint.split(".")[0].endswith("_api")
    }
    assert rules
    assert not rules - set(described)
    assert client.get("/api/docs").status_code == 200
    assert client.get("/api/docs/static/js/swagger-ui-bundle.js").status_code == 200


def test_an_unknown_address_and_a_wrong_method_are_told_in_the_same_shape(ada: Caller) -> None:
    assert ada("GET", "/nothing", status=404)["error"] == "not-found"
    assert ada("PUT", "/deployments", status=405)["error"] == "method-not-allowed"


def test_too_large_a_body_is_refused(ada: Caller) -> None:
    ada("POST", "/deployments", data="x" * (1024 * 1024 + 1), content_type="application/json", status=413)


def test_without_redis_a_request_is_still_refused_in_words(
    ada: Caller, notebook: None, context: MasterContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    def gone(*_: object, **__: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(context.redis, "get", gone)
    made = ada("POST", "/deployments", json=GOOD, status=202)
    set_running(context, made["id"])
    assert ada("POST", f"/deployments/{made['id']}/ticket", status=503)["error"] == "unavailable"
    monkeypatch.setattr(context.redis, "smembers", gone)
    assert ada("POST", "/deployments", json=GOOD, status=503)["error"] == "unavailable"
    assert len(ada("GET", "/deployments")["deployments"]) == 1


def test_who_waits_is_told_the_place_and_when_it_should_start(
    ada: Caller, operator: Caller, context: MasterContext
) -> None:
    box = box_with_image(context)
    box.beat(capacity=box.status.capacity.model_copy(update={"cpu": 1.0}))
    operator("POST", "/applications", json={"manifest": MANIFEST}, status=201)
    first, second, third = (ada("POST", "/deployments", json=GOOD, status=202)["id"] for _ in range(3))
    Scheduler(context).run()
    running = ada("GET", f"/deployments/{first}")
    assert running["instances"][0]["queue"] is None
    waits = ada("GET", f"/deployments/{second}")["instances"][0]
    assert waits["queue"] == {"place": 1, "waiting": 2, "estimated_start": running["lease_end"]}
    assert waits["reason"] == "It needs 1 cpu; the largest free is 0 on alpha."
    listed = {item["id"]: item["instances"][0]["queue"] for item in ada("GET", "/deployments")["deployments"]}
    assert (listed[first], listed[third]["place"]) == (None, 2)


def test_a_higher_class_is_served_first_and_is_for_operators(
    ada: Caller, operator: Caller, context: MasterContext
) -> None:
    box = box_with_image(context)
    box.beat(capacity=box.status.capacity.model_copy(update={"cpu": 1.0}))
    operator("POST", "/applications", json={"manifest": MANIFEST}, status=201)
    refused = ada("POST", "/deployments", json={**GOOD, "priority": "high"}, status=403)
    assert refused["field"] == "priority"
    low = ada("POST", "/deployments", json={**GOOD, "priority": "low"}, status=202)["id"]
    high = operator("POST", "/deployments", json={**GOOD, "priority": "high"}, status=202)["id"]
    Scheduler(context).run()
    assert operator("GET", f"/deployments/{high}")["state"] == "placed"
    assert ada("GET", f"/deployments/{low}")["state"] == "queued"


def test_publishing_says_what_an_application_needs_and_is_not_there_yet(
    operator: Caller, context: MasterContext
) -> None:
    service = {**MANIFEST["services"]["lab"], "filesets": [{"name": "corpus", "mount": "/corpus"}]}
    manifest = {**MANIFEST, "services": {"lab": service}}
    image, fileset = operator("POST", "/applications", json={"manifest": manifest}, status=201)["warnings"]
    assert "demo/notebook:1" in image
    assert "openraas image push" in image
    assert "corpus" in fileset
    assert "openraas fileset put" in fileset
    box_with_image(context)
    answer = operator("POST", "/applications", json={"manifest": MANIFEST}, status=201)
    assert (answer["warnings"], answer["published_by"]) == ([], "olga")
