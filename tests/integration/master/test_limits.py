"""Limits: which one counts, what is told when it is reached, and that nobody slips past one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from common.warm import warm_subject
from master.accounts.models import User
from master.context import MasterContext
from master.deployments.models import Instance
from master.deployments.services import request_deployment
from master.lifecycle.states import S
from master.limits.services import LimitReached
from tests.support.master import FakeBox, add_application, add_image, add_user, image_digests, make_master
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer
from tests.support.scheduling import place_now


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    made = make_master(tmp_path, redis_server.url)
    FakeBox(made, "alpha").hold(image_digests(add_image(made, "site:1")))
    add_application(made, "site", "site:1")  # 1 core, 1 GiB of memory, 1 GiB of disk
    return made


@pytest.fixture
def portal(context: MasterContext) -> Portal:
    return Portal(context)


@pytest.fixture
def boss(portal: Portal) -> Person:
    return portal.person("boss", "administrator")


def limit(boss: Person, subject: str, **values: Any) -> None:
    answer = boss.call("PATCH", f"/api/v1/limits/{subject}", json=values)
    assert answer.status_code == 200, answer.text


def start(person: Person, status: int = 202) -> dict[str, Any]:
    answer = person.call("POST", "/api/v1/deployments", json={"application": "site"})
    assert answer.status_code == status, answer.text
    return dict(answer.json)


def test_a_request_above_the_limit_names_the_limit_the_use_and_what_to_stop(
    portal: Portal, boss: Person
) -> None:
    ada = portal.person("ada")
    limit(boss, "everybody", cpu=1.5)
    first = start(ada)["id"]
    refused = start(ada, 403)
    assert refused["field"] == "limits.cpu"
    assert refused["message"] == (
        "You may use 1.5 cpu at once (the limit for everybody): 1 in use, and this needs 1."
    )
    assert refused["remedy"] == f"Stop Site ({first}, 1 cpu), or ask an administrator for more."
    assert len(ada.call("GET", "/api/v1/deployments").json["deployments"]) == 1
    ada.call("POST", f"/api/v1/deployments/{first}/stop")
    with portal.context.database.write() as session:
        for item in session.query(Instance):
            item.state = S.STOPPED.value
    start(ada)


def test_what_never_fits_is_told_so(portal: Portal, boss: Person) -> None:
    limit(boss, "everybody", memory_bytes=2**29)
    refused = start(portal.person("ada"), 403)
    assert refused["field"] == "limits.memory_bytes"
    assert refused["remedy"] == "Choose less, or ask an administrator for more."


def test_the_most_specific_limit_counts_and_of_groups_the_strictest(portal: Portal, boss: Person) -> None:
    ada = portal.person("ada")
    for name, most in (("large", 5), ("small", 2)):
        boss.call("POST", "/api/v1/groups", json={"name": name})
        boss.call("PUT", f"/api/v1/groups/{name}/members/ada", json={})
        limit(boss, f"members:{name}", deployments=most)
    limit(boss, "everybody", deployments=1, cpu=8)

    def counts() -> dict[str, tuple[float, str]]:
        bounds = ada.call("GET", "/api/v1/me/limits").json["bounds"]
        return {item["amount"]: (item["limit"], item["of"]) for item in bounds}

    assert counts() == {"deployments": (2, "members:small"), "cpu": (8, "everybody")}
    limit(boss, "person:ada", deployments=3)
    assert counts()["deployments"] == (3, "person:ada")
    limit(boss, "person:ada", deployments=None)
    assert counts()["deployments"] == (2, "members:small")


def test_a_group_shares_the_limit_of_the_whole(portal: Portal, boss: Person) -> None:
    ada, bob = portal.person("ada"), portal.person("bob")
    boss.call("POST", "/api/v1/groups", json={"name": "class"})
    for name in ("ada", "bob"):
        boss.call("PUT", f"/api/v1/groups/class/members/{name}", json={})
    limit(boss, "group:class", deployments=1)
    start(ada)
    refused = start(bob, 403)
    assert refused["message"].startswith(
        "The group may use 1 deployments at once (the limit of the whole group"
    )
    assert refused["remedy"] == "Wait until others stop something, or ask an administrator for more."


def test_a_lease_is_no_longer_than_the_limit_of_hours(portal: Portal, boss: Person) -> None:
    ada = portal.person("ada")
    limit(boss, "person:ada", lease_s=600)
    deployment = request_deployment(portal.context, ada.user, "site", {})
    assert deployment.lease_s(deployment.created_at) == pytest.approx(600, abs=5)
    answer = boss.call("PATCH", "/api/v1/limits/group:none", json={"lease_s": 5})
    assert answer.status_code == 404


def placed(portal: Portal, boss: Person, person: Person) -> str:
    """The path of a deployment that has begun."""
    made = start(person)
    assert place_now(portal.context, made["instances"][0]["id"], 1) == "placed"
    return f"/api/v1/deployments/{made['id']}"


def test_a_lease_is_extended_as_far_as_the_limit_of_hours_that_counts_now(
    portal: Portal, boss: Person
) -> None:
    ada = portal.person("ada")
    path = placed(portal, boss, ada)
    begun_at = ada.call("GET", path).json["lease_end"] - portal.context.settings.lease_s
    limit(boss, "person:ada", lease_s=portal.context.settings.lease_s + 600)
    extended = ada.call("POST", f"{path}/extend", json={"by_s": 6000}).json
    most = begun_at + portal.context.settings.lease_s + 600
    assert extended["lease_end"] == extended["latest_end"] == pytest.approx(most, abs=5)
    assert ada.call("POST", f"{path}/extend", json={}).status_code == 409
    limit(boss, "person:ada", lease_s=portal.context.settings.lease_s + 1200)
    assert ada.call("POST", f"{path}/extend", json={"by_s": 6000}).json["lease_end"] == pytest.approx(
        most + 600, abs=5
    )


def test_where_a_limit_of_hours_counts_only_administrators_let_something_be_kept(
    portal: Portal, boss: Person
) -> None:
    ada, olga = portal.person("ada"), portal.person("olga", "operator")
    path = placed(portal, boss, ada)
    limit(boss, "everybody", lease_s=3600)
    refused = olga.call("PUT", f"{path}/keep", json={"kept": True})
    assert (refused.status_code, refused.json["field"]) == (403, "limits.lease_s")
    assert refused.json["message"] == "A deployment of ada may run for 1 h (limit of everybody)."
    body = {"application": "site", "keep": True}
    assert olga.call("POST", "/api/v1/deployments", json=body).json["field"] == "limits.lease_s"
    assert boss.call("PUT", f"{path}/keep", json={"kept": True}).json["is_kept"]
    again = olga.call("PUT", f"{path}/keep", json={"kept": False}).json
    assert not again["is_kept"]
    assert again["latest_end"] - time.time() <= 3600 + 5


def test_who_takes_a_prewarmed_instance_is_bound_as_everybody_else(
    portal: Portal, boss: Person, context: MasterContext
) -> None:
    box = FakeBox(context, "beta")
    box.hold(image_digests(add_image(context, "lab:1")))
    lab = add_application(context, "lab", "lab:1", command=["serve"], prewarm={})
    box.beat(prewarmed={warm_subject(lab.id): 2})
    ada = portal.person("ada")
    limit(boss, "person:ada", deployments=1, lease_s=600)
    made = ada.call("POST", "/api/v1/deployments", json={"application": "lab"}).json
    assert place_now(context, made["instances"][0]["id"], 1) == "placed"
    begun = ada.call("GET", f"/api/v1/deployments/{made['id']}").json
    assert begun["instances"][0]["box"] == "beta"
    assert begun["lease_end"] - time.time() <= 600 + 5
    refused = ada.call("POST", "/api/v1/deployments", json={"application": "lab"})
    assert (refused.status_code, refused.json["field"]) == (403, "limits.deployments")


def slip_past(context: MasterContext, user: User, tries: int = 6) -> int:
    """How many of as many requests at once got through."""

    def ask(_: int) -> bool:
        try:
            request_deployment(context, user, "site", {})
        except LimitReached:
            return False
        return True

    with ThreadPoolExecutor(tries) as pool:
        return sum(pool.map(ask, range(tries)))


def test_many_requests_at_once_get_no_more_than_the_limit(context: MasterContext, portal: Portal) -> None:
    limit(portal.person("boss", "administrator"), "everybody", deployments=2)
    assert slip_past(context, add_user(context, "ada")) == 2
