"""Who may do what: signing in, tokens, roles, and pages of other origins."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI
from sqlalchemy import select

from common.errors import Unauthorized
from master.accounts import services, throttle
from master.accounts.models import ApiToken, Scope, User, UserRole, WebSession
from master.context import MasterContext
from master.web.app import create_app
from tests.support.master import make_master
from tests.support.redis import RedisServer
from tests.support.web import add_person, bearer, csrf_token, sign_in


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def app(context: MasterContext) -> OpenAPI:
    return create_app(context)


@pytest.fixture
def client(app: OpenAPI) -> FlaskClient:
    return app.test_client()


def test_the_first_administrator_is_made_once(context: MasterContext) -> None:
    with context.database.write() as session:
        password = services.ensure_administrator(session)
        assert password is not None
        assert services.ensure_administrator(session) is None
    assert services.authenticate(context, "admin", password, "127.0.0.1").role == UserRole.ADMINISTRATOR


def test_every_address_is_closed_to_strangers_unless_it_is_meant_to_be_open(app: OpenAPI) -> None:
    client = app.test_client()
    open_to_all = {
        "/", "/sign-in", "/healthz", "/readyz", "/metrics", "/api/docs", "/api/v1/openapi.json",
        "/api/v1/manifest-schema", "/ca.crt", "/favicon.ico", "/sign-up", "/reset",
        "/sign-in/openid", "/sign-in/openid/callback", "/s/x", "/s/x/get", "/s/x/ticket", "/join/x",
    }  # fmt: skip
    for rule in app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.rule.endswith("<path:filename>"):
            continue
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        answer = client.get(path, headers={"X-Forwarded-For": "203.0.113.9"})
        if path in open_to_all or answer.status_code in (401, 403):
            continue
        is_sign_in = answer.status_code == 302 and answer.location.startswith("/sign-in")
        assert is_sign_in, f"{path} answers a stranger with {answer.status_code}"


def test_a_person_signs_in_and_out(client: FlaskClient, context: MasterContext) -> None:
    _, password, _ = add_person(context, "ada")
    answer = sign_in(client, "ada", password)
    assert answer.status_code == 303
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie  # plain HTTP on loopback
    page = client.get("/applications")
    assert page.status_code == 200
    assert client.post("/sign-out", data={"csrf_token": csrf_token(page.text)}).status_code == 303
    assert client.get("/applications").location.startswith("/sign-in")


def test_over_tls_the_cookie_is_tied_to_this_origin(app: OpenAPI, context: MasterContext) -> None:
    _, password, _ = add_person(context, "ada")
    client = app.test_client()
    token = csrf_token(client.get("/sign-in", base_url="https://portal.test").text)
    data = {"csrf_token": token, "name": "ada", "password": password}
    headers = {"Referer": "https://portal.test/sign-in"}
    answer = client.post("/sign-in", data=data, base_url="https://portal.test", headers=headers)
    cookies = answer.headers.getlist("Set-Cookie")
    assert all(cookie.startswith("__Host-") and "Secure" in cookie for cookie in cookies)
    assert "max-age=" in answer.headers["Strict-Transport-Security"]


def test_the_database_lets_nobody_in(client: FlaskClient, context: MasterContext) -> None:
    _, password, token = add_person(context, "ada")
    sign_in(client, "ada", password)
    cookie = client.get_cookie("openraas_session")
    assert cookie is not None
    with context.database.read() as session:
        rows = [session.execute(select(model.__table__)).all() for model in (User, WebSession, ApiToken)]
    dump = str(rows)
    for secret in (password, token, cookie.value):
        assert secret not in dump


def test_signing_in_leads_nowhere_else(client: FlaskClient, context: MasterContext) -> None:
    _, password, _ = add_person(context, "ada")
    token = csrf_token(client.get("/sign-in").text)
    for elsewhere in ("https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)"):
        data = {"csrf_token": token, "name": "ada", "password": password, "next": elsewhere}
        location = app_location(client, data)
        assert location == "/applications"
    data = {"csrf_token": token, "name": "ada", "password": password, "next": "/boxes"}
    assert app_location(client, data) == "/boxes"


def app_location(client: FlaskClient, data: dict[str, str]) -> str:
    fresh = client.application.test_client()
    data = {**data, "csrf_token": csrf_token(fresh.get("/sign-in").text)}
    return str(fresh.post("/sign-in", data=data).location)


def test_an_ended_sign_in_opens_nothing(client: FlaskClient, context: MasterContext) -> None:
    _, password, _ = add_person(context, "ada")
    sign_in(client, "ada", password)
    with context.database.write() as session:
        for row in session.scalars(select(WebSession)):
            row.expires_at = 1.0
    assert client.get("/applications").status_code == 302


def test_guessing_is_slowed_down_for_the_name_and_not_for_others(context: MasterContext) -> None:
    client = create_app(context).test_client()
    _, password, _ = add_person(context, "ada")
    _, other, _ = add_person(context, "bob")
    for _ in range(throttle.PER_NAME):
        assert sign_in(client, "ada", "wrong").status_code == 401
    assert sign_in(client, "ada", password).status_code == 429
    assert sign_in(client, "bob", other).status_code == 303


def test_guessing_the_password_that_is_to_be_changed_is_slowed_down_too(context: MasterContext) -> None:
    client = create_app(context).test_client()
    _, password, token = add_person(context, "ada")

    def change(current: str) -> int:
        body = {"current": current, "new": "something quite new"}
        return client.post("/api/v1/me/password", json=body, headers=bearer(token)).status_code

    for _ in range(throttle.PER_NAME):
        assert change("wrong") == 422
    assert change(password) == 429


def test_guesses_at_once_are_no_more_than_guesses_in_turn(context: MasterContext) -> None:
    _, password, _ = add_person(context, "ada")

    def guess(number: int) -> bool:
        try:
            services.authenticate(context, "ada", f"wrong {number}", "192.0.2.7")
        except throttle.TooMany:
            return False
        except Unauthorized:
            return True
        return True

    with ThreadPoolExecutor(16) as pool:
        looked_at = sum(pool.map(guess, range(3 * throttle.PER_NAME)))
    assert looked_at == throttle.PER_NAME
    with pytest.raises(throttle.TooMany):
        services.authenticate(context, "ada", password, "192.0.2.7")
    assert services.authenticate(context, "ada", password, "192.0.2.8").name == "ada"


def test_right_sign_ins_of_a_classroom_do_not_count(context: MasterContext) -> None:
    _, password, _ = add_person(context, "ada")
    for _ in range(throttle.PER_NAME + 2):
        services.authenticate(context, "ada", password, "192.0.2.7")
    assert {int(context.redis.get(key) or 0) for key in context.redis.keys("signin:*")} <= {0}


def test_a_line_break_in_the_address_to_go_on_to_leads_to_the_catalogue(
    client: FlaskClient, context: MasterContext
) -> None:
    _, password, _ = add_person(context, "ada")
    sign_in(client, "ada", password)
    answer = client.get("/sign-in", query_string={"next": "/x\r\nSet-Cookie: a=b"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/applications")
    assert client.get(f"/deployments?page={10**30}").status_code == 200


def test_a_wrong_sign_in_does_not_tell_whether_the_name_exists(
    client: FlaskClient, context: MasterContext
) -> None:
    add_person(context, "ada")
    pages = [sign_in(client, name, "wrong").text for name in ("ada", "nobody")]
    assert all("Name and password do not belong together." in page for page in pages)


def test_a_form_without_its_token_changes_nothing(client: FlaskClient, context: MasterContext) -> None:
    _, password, _ = add_person(context, "ada")
    sign_in(client, "ada", password)
    assert client.post("/account/tokens", data={"token-name": "x"}).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {},
    ],
)
def test_a_page_of_another_origin_changes_nothing_by_cookie(
    client: FlaskClient, context: MasterContext, headers: dict[str, str]
) -> None:
    _, password, _ = add_person(context, "ada")
    sign_in(client, "ada", password)
    answer = client.post("/api/v1/me/tokens", json={"name": "stolen"}, headers=headers)
    assert answer.status_code == 403
    assert answer.json["error"] == "forbidden"
    own = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/v1/me/tokens", json={"name": "mine"}, headers=own).status_code == 201


def test_a_wrong_token_is_not_made_good_by_a_cookie(client: FlaskClient, context: MasterContext) -> None:
    _, password, _ = add_person(context, "ada")
    sign_in(client, "ada", password)
    answer = client.post("/api/v1/me/tokens", json={"name": "x"}, headers=bearer("ora_wrong"))
    assert answer.status_code == 401


def test_a_token_works_until_it_is_revoked(client: FlaskClient, context: MasterContext) -> None:
    _, password, _ = add_person(context, "ada")
    body = {"user": "ada", "password": password, "name": "laptop"}
    token = client.post("/api/v1/tokens", json=body).json["token"]
    assert client.get("/api/v1/me", headers=bearer(token)).json["name"] == "ada"
    listed = client.get("/api/v1/me/tokens", headers=bearer(token)).json["tokens"]
    laptop = next(item for item in listed if item["name"] == "laptop")
    assert token not in str(listed)
    assert client.delete(f"/api/v1/me/tokens/{laptop['id']}", headers=bearer(token)).status_code == 204
    assert client.get("/api/v1/me", headers=bearer(token)).status_code == 401


def test_an_api_token_stands_in_for_the_password(context: MasterContext) -> None:
    user, _, token = add_person(context, "ada")
    assert services.authenticate_program(context, "ada", token, "10.0.0.1", Scope.IMAGES).id == user.id
    with pytest.raises(Unauthorized):
        services.authenticate(context, "ada", token, "10.0.0.1")


def test_roles_are_kept_apart(client: FlaskClient, context: MasterContext) -> None:
    tokens = {role: add_person(context, role.value, role)[2] for role in UserRole}
    calls = {
        "/api/v1/users": UserRole.ADMINISTRATOR,
        "/flower/": UserRole.OPERATOR,
        "/users": UserRole.ADMINISTRATOR,
    }
    ranks = list(UserRole)
    for path, needed in calls.items():
        for role, token in tokens.items():
            status = client.get(path, headers=bearer(token)).status_code
            assert (status == 403) == (ranks.index(role) < ranks.index(needed)), (path, role, status)


def test_an_administrator_adds_resets_and_disables_people(
    client: FlaskClient, context: MasterContext
) -> None:
    _, _, boss = add_person(context, "boss", UserRole.ADMINISTRATOR)
    made = client.post("/api/v1/users", json={"name": "eve", "role": "operator"}, headers=bearer(boss))
    assert made.status_code == 201
    first = made.json["password"]
    assert services.authenticate(context, "eve", first, "").role == UserRole.OPERATOR
    assert client.post("/api/v1/users", json={"name": "eve"}, headers=bearer(boss)).status_code == 409
    second = client.post("/api/v1/users/eve/reset", headers=bearer(boss)).json["password"]
    assert first != second
    body = {"user": "eve", "password": second, "name": "x"}
    token = client.post("/api/v1/tokens", json=body).json["token"]
    client.patch("/api/v1/users/eve", json={"active": False}, headers=bearer(boss))
    assert client.get("/api/v1/me", headers=bearer(token)).status_code == 401
    assert client.post("/api/v1/tokens", json=body).status_code == 401


def test_the_last_administrator_stays(client: FlaskClient, context: MasterContext) -> None:
    _, _, boss = add_person(context, "boss", UserRole.ADMINISTRATOR)
    for change in ({"active": False}, {"role": "user"}):
        answer = client.patch("/api/v1/users/boss", json=change, headers=bearer(boss))
        assert answer.status_code == 409
        assert "last administrator" in answer.json["message"]


def test_changing_ones_password_ends_other_sign_ins(client: FlaskClient, context: MasterContext) -> None:
    _, password, token = add_person(context, "ada")
    sign_in(client, "ada", password)
    wrong = {"current": "wrong", "new": "long enough now"}
    assert client.post("/api/v1/me/password", json=wrong, headers=bearer(token)).json["field"] == "current"
    right = {"current": password, "new": "long enough now"}
    assert client.post("/api/v1/me/password", json=right, headers=bearer(token)).status_code == 204
    assert client.get("/applications").status_code == 302
    assert sign_in(client, "ada", "long enough now").status_code == 303
