"""Signing in with an OpenID provider: who comes in, as whom, and who does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from joserfc.jwk import RSAKey

from common.errors import BadInput
from common.settings import load_settings
from master.accounts.models import UserRole
from tests.support.master import make_master
from tests.support.openid import CLIENT, SECRET, Provider, run_provider
from tests.support.portal import Portal
from tests.support.redis import RedisServer
from tests.support.web import add_person, csrf_token, sign_in


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with run_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.claims = {
        "sub": "1001",
        "name": "Ada Lovelace",
        "preferred_username": "Ada.L",
        "email": "ada@x.test",
    }
    running.forged, running.signing_key = {}, None
    return running


Make = Callable[..., Portal]


@pytest.fixture
def make(tmp_path: Path, redis_server: RedisServer, provider: Provider) -> Make:
    def made(**settings: object) -> Portal:
        values: dict[str, Any] = {
            "openid_issuer": provider.issuer,
            "openid_client_id": CLIENT,
            "openid_client_secret": SECRET,
            "openid_sign_up": "open",
            **settings,
        }
        return Portal(make_master(tmp_path, redis_server.url, **values))

    return made


def who(browser: FlaskClient) -> dict[str, Any]:
    answer = browser.get("/api/v1/me")
    assert answer.status_code == 200, answer.text
    return dict(answer.json)


def test_who_comes_for_the_first_time_waits_for_approval(make: Make, provider: Provider) -> None:
    portal = make(openid_sign_up="approval")
    browser = portal.app.test_client()
    assert "/sign-in/openid" in browser.get("/sign-in").text
    waits = provider.sign_in(browser)
    assert (waits.status_code, "waits for approval" in waits.text) == (403, True)
    boss = portal.person("boss", "administrator")
    boss.call("PATCH", "/api/v1/users/ada-l", json={"state": "active"})
    assert provider.sign_in(browser, next="/boxes").location == "/boxes"
    assert {name: who(browser)[name] for name in ("name", "full_name", "has_password")} == {
        "name": "ada-l",
        "full_name": "Ada Lovelace",
        "has_password": False,
    }


def test_where_the_provider_brings_nobody_new_a_stranger_stays_out(make: Make, provider: Provider) -> None:
    portal = make(openid_sign_up="closed")
    refused = provider.sign_in(portal.app.test_client())
    assert (refused.status_code, "no account here" in refused.text) == (403, True)


def test_the_provider_is_asked_with_pkce_state_and_nonce(make: Make, provider: Provider) -> None:
    begun = make().app.test_client().get("/sign-in/openid")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(begun.location).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert all(len(asked[name]) >= 20 for name in ("code_challenge", "state", "nonce"))
    assert asked["redirect_uri"] == "http://localhost/sign-in/openid/callback"


def test_an_answer_that_nobody_asked_for_signs_nobody_in(make: Make, provider: Provider) -> None:
    portal = make()
    mine, other = portal.app.test_client(), portal.app.test_client()
    back = provider.come_back(mine.get("/sign-in/openid").location)
    # another browser is sent there, as a page of somebody else's could do
    assert other.get(back).status_code == 401
    assert mine.get(back).status_code == 303
    assert mine.get(back).status_code == 401  # and not twice
    assert portal.app.test_client().get("/sign-in/openid/callback?code=x&state=y").status_code == 401


@pytest.mark.parametrize(
    "forged", [{"nonce": "another"}, {"aud": ["another"]}, {"iss": "https://evil.test"}, {"exp": 1}]
)
def test_a_token_that_is_not_for_this_sign_in_signs_nobody_in(
    make: Make, provider: Provider, forged: dict[str, Any]
) -> None:
    provider.forged = forged
    assert provider.sign_in(make().app.test_client()).status_code == 401


def test_a_token_that_another_key_signed_signs_nobody_in(make: Make, provider: Provider) -> None:
    provider.signing_key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
    assert provider.sign_in(make().app.test_client()).status_code == 401


def test_the_same_name_there_takes_nothing_over_here(make: Make, provider: Provider) -> None:
    portal = make()
    portal.person("boss", "administrator")
    provider.claims |= {"preferred_username": "boss", "email": "boss@x.test"}
    browser = portal.app.test_client()
    provider.sign_in(browser)
    assert (who(browser)["name"], who(browser)["role"]) == ("boss-2", "user")


def test_a_person_links_the_account_there_and_signs_in_by_either(make: Make, provider: Provider) -> None:
    portal = make(openid_sign_up="closed")
    _, password, _ = add_person(portal.context, "eve")
    browser = portal.app.test_client()
    sign_in(browser, "eve", password)

    def send(path: str) -> Any:
        return browser.post(path, data={"csrf_token": csrf_token(browser.get("/account").text)})

    assert "/sign-in/openid" in send("/account/openid").text
    assert provider.sign_in(browser).location == "/account"
    other = portal.app.test_client()
    assert provider.sign_in(other).status_code == 303
    assert who(other)["name"] == "eve"
    assert send("/account/openid/unlink").status_code == 303
    assert provider.sign_in(portal.app.test_client()).status_code == 403


def test_linking_needs_who_asked_for_it_to_be_signed_in_still(make: Make, provider: Provider) -> None:
    portal = make()
    _, password, _ = add_person(portal.context, "eve")
    browser = portal.app.test_client()
    sign_in(browser, "eve", password)
    browser.post("/account/openid", data={"csrf_token": csrf_token(browser.get("/account").text)})
    browser.delete_cookie("openraas_session")
    assert provider.sign_in(browser).status_code == 401


def test_roles_and_groups_follow_the_claims(make: Make, provider: Provider) -> None:
    portal = make(openid_roles={"staff": "operator"}, openid_groups={"cs101": "class"})
    boss = portal.person("boss", "administrator")
    boss.call("POST", "/api/v1/groups", json={"name": "club"})
    browser = portal.app.test_client()
    provider.claims["groups"] = ["staff", "cs101", "unheard-of"]
    provider.sign_in(browser)
    boss.call("PUT", "/api/v1/groups/club/members/ada-l", json={})
    now = who(browser)
    assert (now["role"], {item["group"] for item in now["groups"]}) == ("operator", {"class", "club"})
    provider.claims["groups"] = []
    browser.post("/sign-out", data={"csrf_token": csrf_token(browser.get("/account").text)})
    provider.sign_in(browser)
    now = who(browser)
    assert (now["role"], {item["group"] for item in now["groups"]}) == ("user", {"club"})


def test_the_provider_cannot_take_the_last_administrator_away(make: Make, provider: Provider) -> None:
    portal = make(openid_roles={"root": "administrator"})
    provider.claims["groups"] = ["root"]
    browser = portal.app.test_client()
    provider.sign_in(browser)
    provider.claims["groups"] = []
    other = portal.app.test_client()
    provider.sign_in(other)
    assert who(other)["role"] == UserRole.ADMINISTRATOR.value


def test_a_disabled_person_stays_out(make: Make, provider: Provider) -> None:
    portal = make()
    provider.sign_in(portal.app.test_client())
    boss = portal.person("boss", "administrator")
    boss.call("PATCH", "/api/v1/users/ada-l", json={"state": "disabled"})
    assert provider.sign_in(portal.app.test_client()).status_code == 403


def test_who_has_no_password_here_signs_in_with_none(make: Make, provider: Provider) -> None:
    portal = make()
    provider.sign_in(portal.app.test_client())
    body = {"user": "ada-l", "name": "x"}
    for password in ("", "x", "None"):
        assert portal.client.post("/api/v1/tokens", json={**body, "password": password}).status_code == 401


def test_a_provider_that_is_away_is_told_in_words(make: Make, provider: Provider) -> None:
    away = make(openid_issuer="http://127.0.0.1:9").app.test_client().get("/sign-in/openid")
    assert (away.status_code, "does not answer" in away.text) == (503, True)


def test_without_a_provider_nothing_speaks_of_one(tmp_path: Path, redis_server: RedisServer) -> None:
    client = Portal(make_master(tmp_path, redis_server.url)).client
    assert "openid" not in client.get("/sign-in").text
    assert client.get("/sign-in/openid").status_code == 404


def test_the_secret_of_the_client_stands_in_no_listing_of_settings() -> None:
    settings = load_settings(
        openid_issuer="https://x.test", openid_client_id="a", openid_client_secret=SECRET
    )
    assert SECRET not in json.dumps(settings.model_dump(mode="json")) + repr(settings)
    with pytest.raises(BadInput, match="https"):
        load_settings(openid_issuer="http://x.test", openid_client_id="a")
