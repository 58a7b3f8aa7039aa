"""Pages speak the language of whoever reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from hatch_build import compile_translations
from master.web.app import create_app
from tests.support.master import make_master
from tests.support.redis import RedisServer
from tests.support.web import csrf_token


@pytest.fixture
def client(tmp_path: Path, redis_server: RedisServer) -> FlaskClient:
    compile_translations()
    return create_app(make_master(tmp_path, redis_server.url)).test_client()


def test_a_page_speaks_what_the_browser_prefers(client: FlaskClient) -> None:
    page = client.get("/sign-in", headers={"Accept-Language": "fr;q=0.9, de-AT, en;q=0.5"}).text
    assert '<html lang="de">' in page
    assert "Zum Inhalt springen" in page


def test_a_page_speaks_english_where_nothing_better_is_known(client: FlaskClient) -> None:
    page = client.get("/sign-in", headers={"Accept-Language": "xx, yy;q=0.5"}).text
    assert '<html lang="en">' in page
    assert "Skip to the page" in page


def test_a_language_that_was_chosen_stays_in_that_browser(client: FlaskClient) -> None:
    token = csrf_token(client.get("/sign-in").text)
    answer = client.post(
        "/language",
        data={"csrf_token": token, "language": "de"},
        headers={"Referer": "http://localhost/sign-in?next=/boxes"},
    )
    assert (answer.status_code, answer.location) == (303, "/sign-in?next=/boxes")
    assert '<html lang="de">' in client.get("/sign-in", headers={"Accept-Language": "en"}).text


def test_a_choice_leads_to_no_page_of_another_site(client: FlaskClient) -> None:
    token = csrf_token(client.get("/sign-in").text)
    for referrer in ("http://elsewhere.example/x", "http://localhost//elsewhere.example"):
        answer = client.post(
            "/language", data={"csrf_token": token, "language": "de"}, headers={"Referer": referrer}
        )
        assert answer.location == "/"


def test_a_language_that_is_not_there_is_refused(client: FlaskClient) -> None:
    token = csrf_token(client.get("/sign-in").text)
    assert client.post("/language", data={"csrf_token": token, "language": "tlh"}).status_code == 422
