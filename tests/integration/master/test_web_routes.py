"""Every route, whoever wrote it: which tokens open it, and that no change slips past the audit log."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import select
from werkzeug.routing import Rule

from master.accounts import services
from master.accounts.guard import SAFE_METHODS, is_public, scopes_for
from master.accounts.models import Scope
from master.audit.models import AuditEntry
from master.context import MasterContext
from tests.support.master import FakeBox, add_application, add_image, image_digests, make_master
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer

# Changes that nobody would look for: how pages look, a key to one's own files, tickets of registry clients.
UNAUDITED = {"appearance.change", "languages.change", "files_api.ticket", "registry_token.oauth_token"}
# They change nothing by themselves: what they send on, or ask for, is Flower's, a box's, or only shown again.
NO_CHANGE = {"flower.flower", "files.webdav"}


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def portal(context: MasterContext) -> Portal:
    return Portal(context)


@pytest.fixture
def boss(portal: Portal) -> Person:
    return portal.person("boss", "administrator")


def routes(portal: Portal) -> Iterator[tuple[str, str, Rule]]:
    """Method, an address that fits, and the rule."""
    for rule in portal.app.url_map.iter_rules():
        if rule.endpoint.split(".")[-1] != "static":
            path = re.sub(r"<(?:\w+:)?\w+>", "x", rule.rule)
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield method, path, rule


def test_every_call_declares_the_scopes_that_open_it(portal: Portal) -> None:
    silent = []
    for method, path, rule in routes(portal):
        view = portal.app.view_functions[rule.endpoint]
        is_rest = rule.endpoint.split(".")[0].endswith("_api")
        if is_rest and not is_public(view) and not hasattr(view, "_openraas_scopes"):
            silent.append(f"{method} {path}")
    assert silent == []


def test_each_shape_of_the_description_has_a_name_of_its_own(portal: Portal) -> None:
    document = portal.client.get("/api/v1/openapi.json").json
    classes: dict[str, set[str]] = {}
    for shape in _below(BaseModel):
        if shape.__module__.startswith(("master.", "common.")):
            classes.setdefault(shape.__name__, set()).add(shape.__module__)
    shared = {
        name: classes[name] for name in document["components"]["schemas"] if len(classes.get(name, ())) > 1
    }
    assert shared == {}


def _below(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def test_a_narrower_token_is_refused_by_every_call_that_needs_another_scope(
    portal: Portal, boss: Person
) -> None:
    with portal.context.database.write() as session:
        tokens = {
            scope: services.issue_api_token(session, boss.user, scope.value, None, [scope])
            for scope in Scope
            if scope is not Scope.ALL
        }
    wrong, tried = [], 0
    for method, path, rule in routes(portal):
        view = portal.app.view_functions[rule.endpoint]
        if is_public(view) or not rule.rule.startswith("/api/v1/"):
            continue
        opening = scopes_for(view, method, rule.rule)
        for scope in tokens.keys() - opening:
            tried += 1
            headers = {"Authorization": f"Bearer {tokens[scope]}"}
            answer = portal.client.open(path, method=method, headers=headers)
            is_named = answer.status_code == 403 and answer.json["error"] == "forbidden"
            if not is_named or f"this one has {scope.value}." not in answer.json["message"]:
                wrong.append((method, path, scope.value, answer.status_code))
    assert wrong == []
    assert tried > 300


def test_a_token_for_files_opens_the_files_and_nothing_else_of_a_person(portal: Portal) -> None:
    ada = portal.person("ada")
    with portal.context.database.write() as session:
        token = services.issue_api_token(session, ada.user, "files", None, [Scope.FILES])
    headers = {"Authorization": f"Bearer {token}"}
    # No box holds her home, which is what is told: the token itself was good.
    for method, path in (("GET", "/files"), ("GET", "/files/usage"), ("POST", "/files/ticket")):
        answer = portal.client.open(f"/api/v1{path}", method=method, json={}, headers=headers)
        assert answer.status_code in (404, 409, 503), answer.text
    assert portal.client.get("/api/v1/deployments", headers=headers).status_code == 403
    assert portal.client.get("/files", headers=headers).status_code == 403


def test_no_change_by_anybody_slips_past_the_audit_log(context: MasterContext) -> None:
    portal = Portal(context)
    boss = portal.person("boss", "administrator")
    _stub_everything(portal)
    missing, too_many = [], []
    for method, path, rule in routes(portal):
        if method in SAFE_METHODS or rule.endpoint in NO_CHANGE:
            continue
        before = _count(context)
        answer = boss.call(method, path)
        assert answer.status_code == 204, (method, path, answer.text)
        more = _count(context) - before
        if rule.endpoint in UNAUDITED:
            too_many += [f"{method} {path}"] * more
        elif more != 1:
            missing.append(f"{method} {path}")
    assert (missing, too_many) == ([], [])


def _stub_everything(portal: Portal) -> None:
    """Every function does nothing and says that it worked, with the marks that its own decorators left."""
    for endpoint, view in list(portal.app.view_functions.items()):
        stub: Callable[..., Any] = lambda **_: ("", 204)  # noqa: E731 - one for each
        stub.__dict__.update(view.__dict__)
        portal.app.view_functions[endpoint] = stub


def _count(context: MasterContext) -> int:
    with context.database.read() as session:
        return len(session.scalars(select(AuditEntry.id)).all())


def test_what_operators_do_to_boxes_and_times_is_told_with_what_it_was_before(
    portal: Portal, context: MasterContext
) -> None:
    FakeBox(context, "alpha").hold(image_digests(add_image(context, "site:1")))
    add_application(context, "site", "site:1", command=["serve"], prewarm={})
    olga = portal.person("olga", "operator")

    def call(method: str, address: str, **body: object) -> Any:
        answer = olga.call(method, f"/api/v1{address}", json=body)
        assert answer.status_code < 300, (address, answer.text)
        return answer.json if answer.data else None

    call("POST", "/boxes/alpha/cordon", cordoned=True)
    call("POST", "/boxes/alpha/drain")
    call("POST", "/boxes/token", ttl_s=60)
    call("PUT", "/prewarmed/site", count=2)
    call("PUT", "/prewarmed/site", count=3)
    call("DELETE", "/prewarmed/site")
    entry = call("POST", "/timetable", entry="Mon 08:00 site x30")["id"]
    call("DELETE", f"/timetable/{entry}")
    simulation = call("POST", "/simulations", name="openraas-paper", policies=["first"], seeds=1)["id"]
    call("POST", f"/simulations/{simulation}/stop")
    call("DELETE", f"/simulations/{simulation}")
    link = call("POST", "/files/shares", path="notes", ttl_s=3600)["id"]
    call("DELETE", f"/files/shares/{link}")
    made = call("POST", "/deployments", application="site", keep=True)["id"]
    call("PUT", f"/deployments/{made}/keep", kept=False)
    told = _told(context, "olga")
    assert [(action, subject) for action, subject, _, _ in told] == [
        ("box.cordon", "box:alpha"),
        ("box.drain", "box:alpha"),
        ("box.make-join-token", "person:olga"),
        ("prewarm.order", "application:site"),
        ("prewarm.order", "application:site"),
        ("prewarm.order", "application:site"),
        ("timetable.add", f"timetable:{entry}"),
        ("timetable.remove", f"timetable:{entry}"),
        ("simulation.start", f"simulation:{simulation}"),
        ("simulation.stop", f"simulation:{simulation}"),
        ("simulation.remove", f"simulation:{simulation}"),
        ("files.share", f"link:{link}"),
        ("files.unshare", f"link:{link}"),
        ("deployment.start", f"deployment:{made}"),
        ("deployment.keep", f"deployment:{made}"),
    ]
    assert [after for action, _, _, after in told if action == "prewarm.order"] == [
        {"count": 2},
        {"count": 3},
        {},
    ]
    assert told[0][2:] == ({"cordoned": False}, {"cordoned": True})
    assert told[-1][2:] == ({"kept": True, "owner": "olga"}, {"kept": False})


def test_lists_that_grow_come_in_pages_that_name_the_next(
    portal: Portal, context: MasterContext, boss: Person
) -> None:
    add_image(context, "site:1")
    add_application(context, "site", "site:1", command=["serve"], prewarm={})
    for day in ("Mon", "Tue", "Wed"):
        boss.call("POST", "/api/v1/timetable", json={"entry": f"{day} 08:00 site x3"})
        boss.call("POST", "/api/v1/files/shares", json={"path": day, "ttl_s": 3600})
        wish = {"name": "openraas-paper", "policies": ["first"], "seeds": 1}
        boss.call("POST", "/api/v1/simulations", json=wish)
    for path, key in (("timetable", "entries"), ("files/shares", "shares"), ("simulations", "simulations")):
        first = boss.call("GET", f"/api/v1/{path}?limit=2")
        assert len(first.json[key]) == 2
        assert f'</api/v1/{path}?limit=2&offset=2>; rel="next"' in first.headers["Link"]
        rest = boss.call("GET", f"/api/v1/{path}?limit=2&offset=2")
        assert len(rest.json[key]) == 1
        assert 'rel="next"' not in rest.headers["Link"]


def test_replacing_the_authority_is_in_the_audit_log(
    portal: Portal, context: MasterContext, boss: Person
) -> None:
    rotated = boss.call("POST", "/api/v1/authority/rotate").json
    retired = boss.call("POST", "/api/v1/authority/retire", json={"force": True}).json
    assert retired["in_office"] == rotated["successor"]
    (_, _, _, made), (_, _, was, now) = _told(context, "boss")
    assert made == {"fingerprint": rotated["successor"]["fingerprint"]}
    assert was == {"fingerprint": rotated["in_office"]["fingerprint"]}
    assert now == {"fingerprint": rotated["successor"]["fingerprint"], "left_behind": []}


def _told(context: MasterContext, actor: str) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    with context.database.read() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.actor == actor).order_by(AuditEntry.id))
        return [
            (item.action, item.subject, item.before, item.after)
            for item in entries
            if item.action.split(".")[0] not in ("user", "token")  # the people of this test
        ]
