"""What all REST calls have in common: pages of lists, versions, keys, the description, the audit log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from master.audit.models import AuditEntry
from master.audit.services import HIDDEN, record
from master.context import MasterContext
from master.web.models import KeptAnswer
from tests.support.master import FakeBox, add_application, add_image, image_digests, make_master
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def portal(context: MasterContext) -> Portal:
    return Portal(context)


@pytest.fixture
def boss(portal: Portal) -> Person:
    return portal.person("boss", "administrator")


def test_a_list_names_the_pages_around_it(portal: Portal, boss: Person) -> None:
    for name in ("ada", "bob", "cid"):
        portal.person(name)
    seen, path = [], "/api/v1/users?limit=2"
    while path:
        answer = boss.call("GET", path)
        seen += [item["name"] for item in answer.json["users"]]
        links = answer.headers.get("Link", "")
        path = next((part.split(">")[0].strip(" <") for part in links.split(",") if '"next"' in part), "")
    assert seen == ["ada", "bob", "boss", "cid"]
    assert 'rel="prev"' in links


def test_what_the_caller_has_is_not_sent_again(boss: Person) -> None:
    first = boss.call("GET", "/api/v1/users")
    again = boss.call("GET", "/api/v1/users", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    boss.call("POST", "/api/v1/users", json={"name": "ada"})
    changed = boss.call("GET", "/api/v1/users", headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200


def test_a_change_of_what_somebody_else_changed_is_refused(portal: Portal, boss: Person) -> None:
    portal.person("ada")
    seen = {"If-Match": boss.call("GET", "/api/v1/users/ada").headers["ETag"]}
    body = {"full_name": "Ada"}
    assert boss.call("PATCH", "/api/v1/users/ada", json=body, headers=seen).status_code == 200
    late = boss.call("PATCH", "/api/v1/users/ada", json={"role": "operator"}, headers=seen)
    assert (late.status_code, late.json["error"], late.json["field"]) == (
        412,
        "precondition-failed",
        "If-Match",
    )
    assert boss.call("GET", "/api/v1/users/ada").json["role"] == "user"


def test_a_call_that_is_sent_again_gets_the_first_answer(portal: Portal, boss: Person) -> None:
    key = {"Idempotency-Key": "once"}
    first = boss.call("POST", "/api/v1/users", json={"name": "ada"}, headers=key)
    again = boss.call("POST", "/api/v1/users", json={"name": "ada"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json == first.json
    assert again.headers["Idempotency-Replayed"] == "true"
    other = boss.call("POST", "/api/v1/users", json={"name": "bob"}, headers=key)
    assert (other.status_code, other.json["field"]) == (409, "Idempotency-Key")
    with portal.context.database.read() as session:
        kept = str(session.execute(select(KeptAnswer.__table__)).all())
    assert first.json["password"] not in kept
    # a key is one person's
    ruth = portal.person("ruth", "administrator")
    assert ruth.call("POST", "/api/v1/users", json={"name": "bob"}, headers=key).status_code == 201


def test_what_failed_may_be_tried_again_with_its_key(boss: Person) -> None:
    key = {"Idempotency-Key": "again"}
    assert boss.call("POST", "/api/v1/users/eve/reset", headers=key).status_code == 404
    boss.call("POST", "/api/v1/users", json={"name": "eve"})
    assert boss.call("POST", "/api/v1/users/eve/reset", headers=key).status_code == 200
    for bad in ("", "x" * 65, "ä"):
        refused = boss.call("POST", "/api/v1/users/eve/reset", headers={"Idempotency-Key": bad})
        assert (refused.status_code, refused.json["field"]) == (422, "Idempotency-Key")


def test_of_many_calls_at_once_with_a_key_one_is_made(portal: Portal, boss: Person) -> None:
    def send(_: int) -> int:
        client = portal.app.test_client()
        headers = {"Authorization": f"Bearer {boss.token}", "Idempotency-Key": "rush"}
        body = {"name": "laptop"}
        return client.post("/api/v1/me/tokens", json=body, headers=headers).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(send, range(6)))
    assert set(statuses) <= {201, 409}
    assert 201 in statuses
    tokens = boss.call("GET", "/api/v1/me/tokens").json["tokens"]
    assert [item["name"] for item in tokens].count("laptop") == 1


def test_the_audit_log_says_who_changed_what_and_from_where(portal: Portal, boss: Person) -> None:
    portal.person("ada")
    boss.call("PATCH", "/api/v1/users/ada", json={"role": "operator"})
    entry = boss.call("GET", "/api/v1/audit?action=user.change").json["entries"][0]
    told = {name: entry[name] for name in ("actor", "means", "address", "subject", "before", "after")}
    assert told == {
        "actor": "boss",
        "means": "token test",
        "address": "127.0.0.1",
        "subject": "user:ada",
        "before": {"role": "user"},
        "after": {"role": "operator"},
    }
    assert boss.call("GET", "/api/v1/audit?actor=nobody").json["entries"] == []
    assert portal.person("eve", "operator").call("GET", "/api/v1/audit").status_code == 403


def test_a_change_that_leaves_no_entry_of_its_own_is_in_the_log_by_its_call(
    portal: Portal, boss: Person, context: MasterContext
) -> None:
    body = {"current": "guess", "new": "a long one 12"}
    assert boss.call("POST", "/api/v1/me/password", json=body).status_code == 422
    assert boss.call("POST", "/api/v1/deployments/d-1/stop").status_code == 404
    portal.app.view_functions["mirrors_api.stop"] = lambda **_: ("", 204)
    assert boss.call("DELETE", "/api/v1/mirrors/m-1").status_code == 204
    with context.database.read() as session:
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert entry is not None
    assert (entry.actor, entry.action, entry.subject) == ("boss", "mirrors.stop", "/mirrors/m-1")


def test_a_refused_change_leaves_no_entry(portal: Portal, boss: Person, context: MasterContext) -> None:
    assert boss.call("PATCH", "/api/v1/users/boss", json={"role": "user"}).status_code == 409
    with context.database.read() as session:
        assert session.scalar(select(AuditEntry.id).where(AuditEntry.action == "user.change")) is None


def test_the_audit_log_keeps_no_secret_and_lets_nobody_change_it(context: MasterContext) -> None:
    with context.database.write() as session:
        record(session, "user.change", "user:ada", after={"password": "hush-hush", "role": "user"})
    with context.database.read() as session:
        entry = session.scalars(select(AuditEntry)).one()
        assert entry.after == {"password": HIDDEN, "role": "user"}
    for change in ("UPDATE audit SET actor = 'bob'", "DELETE FROM audit"):
        with pytest.raises(IntegrityError, match="append-only"), context.database.write() as session:
            session.execute(text(change))


def test_every_call_names_its_errors_its_role_and_its_scopes(portal: Portal) -> None:
    document = portal.client.get("/api/v1/openapi.json").json
    names = set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            names.add(operation["operationId"])
            errors = {status for status in operation["responses"] if status >= "400"}
            assert "default" not in operation["responses"], (method, path)
            assert "503" in errors
            if operation["security"]:
                assert {"401", "403"} <= errors, (method, path)
                assert operation["x-role"]
                assert "all" in operation["x-scopes"]
    assert len(names) == sum(len(item) for item in document["paths"].values())
    kind = document["components"]["schemas"]["NotFoundAnswer"]["properties"]["error"]
    assert kind["enum"] == ["not-found"]


def test_a_deployment_is_in_the_log_from_start_to_stop(portal: Portal, context: MasterContext) -> None:
    FakeBox(context, "alpha").hold(image_digests(add_image(context, "site:1")))
    add_application(context, "site", "site:1")
    ada = portal.person("ada")
    made = ada.call("POST", "/api/v1/deployments", json={"application": "site"}).json["id"]
    for _ in range(2):
        ada.call("POST", f"/api/v1/deployments/{made}/stop")
    with context.database.read() as session:
        query = select(AuditEntry.action).where(AuditEntry.subject == f"deployment:{made}")
        assert list(session.scalars(query)) == ["deployment.start", "deployment.stop"]
