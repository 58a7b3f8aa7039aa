"""The catalogue: finding an application, and what a start of it would take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from common.words import Resources
from master.catalogue.expectations import Expectations
from master.catalogue.manifest import parse_manifest
from master.catalogue.services import publish
from master.context import MasterContext
from master.nearness.people import Near
from tests.support.master import FakeBox, add_image, image_digests, make_master
from tests.support.portal import Person, Portal
from tests.support.redis import RedisServer
from tests.support.web import MANIFEST

SITE: dict[str, Any] = {
    "openraas": 1, "name": "site", "title": "A small site", "category": "Examples", "description": "Shows pages.",
    "services": {"web": {"image": "site:1", "port": 80, "resources": {"cpu": 1, "memory": "256MiB"}}},
}  # fmt: skip
NOTEBOOK = {**MANIFEST, "category": "Science"}


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    """Two boxes, of which one holds the site's image; nobody knows the notebook's."""
    made = make_master(tmp_path, redis_server.url)
    FakeBox(made, "alpha").hold(image_digests(add_image(made, "site:1")))
    FakeBox(made, "beta")
    with made.database.write() as session:
        publish(session, parse_manifest(SITE), None)
        publish(session, parse_manifest(NOTEBOOK), None)
    return made


@pytest.fixture
def ada(context: MasterContext) -> Person:
    return Portal(context).person("ada")


def test_the_catalogue_is_searched_by_all_words_and_narrowed_by_category(ada: Person) -> None:
    assert [("Notebook" in page, "A small site" in page) for page in (
        ada.call("GET", "/applications").text,
        ada.call("GET", "/applications?q=HOME+own").text,
        ada.call("GET", "/applications?category=Examples").text,
        ada.call("GET", "/applications?category=Examples&q=home").text,
    )] == [(True, True), (True, False), (False, True), (False, False)]  # fmt: skip


def test_an_application_says_how_soon_it_runs_and_how_many_boxes_hold_it(ada: Person) -> None:
    page = ada.call("GET", "/applications?q=site").text
    assert "ready in about" in page or "ready in under" in page
    assert "on 1 box<" in page


def test_nothing_is_foretold_of_an_image_that_nobody_knows(ada: Person) -> None:
    page = ada.call("GET", "/applications?q=notebook").text
    assert "Notebook" in page
    assert "ready in" not in page


def test_what_finds_no_room_is_said_to_wait(context: MasterContext) -> None:
    for name in ("gamma",):
        FakeBox(context, name)
    huge = {
        **SITE,
        "name": "huge",
        "services": {"web": {**SITE["services"]["web"], "resources": {"cpu": 99}}},
    }
    told = Expectations(context).of([parse_manifest(SITE), parse_manifest(huge)])
    assert told["site"].start_s is not None
    assert (told["huge"].start_s, told["huge"].holders) == (None, 1)


def test_what_is_missing_makes_a_start_longer(context: MasterContext) -> None:
    narrow = Resources(cpu=2, memory_bytes=2**32, bandwidth_bps=10**6)
    for box in ("alpha", "beta"):
        context.redis.srem("boxes", box)
    FakeBox(context, "far", capacity=narrow)
    FakeBox(context, "holder", open=False).hold(image_digests(add_image(context, "other:1")))
    other = {**SITE, "name": "other", "services": {"web": {**SITE["services"]["web"], "image": "other:1"}}}
    told = Expectations(context).of([parse_manifest(other)])["other"]
    assert told.holders == 0
    assert told.start_s is not None
    assert told.start_s > 60  # 15 MB over 1 Mbit/s


def test_the_form_says_where_it_would_run_and_who_is_left_out(context: MasterContext, ada: Person) -> None:
    FakeBox(context, "gamma", open=False)
    page = ada.call("GET", "/applications/site").text
    assert "It would run on alpha." in page
    assert "1 box is left out" in page
    previews = Expectations(context).preview(parse_manifest(SITE), ada.user, Near())
    assert [item.why for item in previews[0].decision.left_out] == ["is closed"]


def test_without_redis_the_catalogue_only_says_less(
    context: MasterContext, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(context.redis, "smembers", gone)
    for path in ("/applications", "/applications/site"):
        answer = ada.call("GET", path)
        assert answer.status_code == 200
        assert "A small site" in answer.text
        assert "ready in" not in answer.text
