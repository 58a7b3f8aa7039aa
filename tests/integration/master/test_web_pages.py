"""Pages and what stands beside them: the launch form, the live timeline, health, metrics, Flower."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest
import redis
from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI
from sqlalchemy import event

from common.vivaldi import Position
from common.words import InstanceState
from master.accounts.models import UserRole
from master.catalogue.manifest import parse_manifest
from master.catalogue.services import publish
from master.context import MasterContext
from master.deployments.models import Deployment
from master.nearness.map import write_map
from master.scheduler.standing import publish as tell_places
from master.web.app import create_app
from tests.support.master import FakeBox, make_master
from tests.support.redis import RedisServer, free_port, wait_until
from tests.support.web import MANIFEST, add_person, bearer, box_with_image, csrf_token, launch, sign_in, step


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def app(context: MasterContext) -> OpenAPI:
    return create_app(context)


@pytest.fixture
def client(app: OpenAPI, context: MasterContext) -> FlaskClient:
    """Ada's browser, with a notebook in the catalogue and a box that holds its image."""
    box_with_image(context)
    with context.database.write() as session:
        publish(session, parse_manifest(MANIFEST), None)
    client = app.test_client()
    sign_in(client, "ada", add_person(context, "ada", UserRole.OPERATOR)[1])
    return client


def test_the_form_is_made_from_the_manifest(client: FlaskClient) -> None:
    page = client.get("/applications/notebook").text
    for part in ('name="option.cores" value="2"', 'min="1" max="4"', 'type="password"', 'type="checkbox"'):
        assert part in page


def test_what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost(client: FlaskClient) -> None:
    token = csrf_token(client.get("/applications/notebook").text)
    data = {
        "csrf_token": token,
        "key": "k",
        "option.cores": "9",
        "option.project": "my-thesis",
        "option.password": "hush",
    }
    answer = client.post("/applications/notebook", data=data)
    assert answer.status_code == 422
    assert 'id="option-cores-error">At most 4.' in answer.text
    assert 'value="my-thesis"' in answer.text
    assert "hush" not in answer.text
    assert client.get("/deployments").text.count("row-link") == 0


def test_an_unticked_box_means_no(client: FlaskClient, context: MasterContext) -> None:
    where = launch(client)
    with context.database.read() as session:
        assert session.get_one(Deployment, where.split("/")[-1]).options["examples"] is False


def test_a_form_that_is_sent_twice_starts_one_deployment(client: FlaskClient) -> None:
    assert launch(client) == launch(client)


def test_what_people_write_is_shown_as_text(client: FlaskClient, context: MasterContext) -> None:
    evil = {**MANIFEST, "name": "evil", "title": "<script>alert(1)</script>"}
    with context.database.write() as session:
        publish(session, parse_manifest(evil), None)
    assert "<script>alert" not in client.get("/applications").text + client.get("/applications/evil").text


def test_no_page_has_anything_inline(client: FlaskClient) -> None:
    where = launch(client)
    paths = ["/sign-in", "/applications", "/applications/notebook", where, "/deployments", "/boxes"]
    for path in [*paths, "/layers", "/layers/transfers", "/mirrors", "/account", "/about", "/nothing"]:
        answer = client.get(path, follow_redirects=True)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert " style=" not in answer.text
        assert " onclick=" not in answer.text
        assert "<script>" not in answer.text
        assert "//" not in "".join(part.split('"')[0] for part in answer.text.split('src="')[1:])


def test_boxes_show_who_is_up_and_who_is_silent(client: FlaskClient, context: MasterContext) -> None:
    FakeBox(context, "omega").go_silent()
    page = client.get("/boxes").text
    assert page.index("alpha") < page.index("omega")
    assert page.count("state-open") == 1
    assert page.count("state-silent") == 1


def test_boxes_show_how_far_they_are_and_how_well_their_place_is_known(
    client: FlaskClient, context: MasterContext
) -> None:
    measured = FakeBox(context, "omega", coordinate_error=0.2, master_ms=12.345)
    assert "not confirmed yet" in client.get("/boxes").text
    write_map(context.redis, {"omega": Position(measured.status.coordinate, 0.2)})
    page = client.get("/boxes").text
    assert "12 ms" in page
    assert "±20 %" in page
    assert "typed in" in page


def test_a_page_that_is_not_there_is_an_error_page(client: FlaskClient) -> None:
    answer = client.get("/deployments/d-nothing")
    assert answer.status_code == 404
    assert "There is no deployment d-nothing." in answer.text
    assert "<h1>" in answer.text


def test_an_error_nobody_thought_of_shows_no_traceback(
    client: FlaskClient, app: OpenAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> str:
        raise RuntimeError("a secret detail")

    monkeypatch.setitem(app.view_functions, "catalogue.catalogue", broken)
    answer = client.get("/applications")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text


def test_who_waits_sees_the_place_in_the_queue(client: FlaskClient, context: MasterContext) -> None:
    first, second = launch(client, key="first"), launch(client, key="second")
    for where in (first, second):
        step(context, where, InstanceState.QUEUED)
    with context.database.read() as session:
        waiting = [
            session.get_one(Deployment, where.split("/")[-1]).instances[0].id for where in (first, second)
        ]
    assert "It waits for room" in client.get(first).text
    tell_places(context.redis, waiting, {waiting[0]: time.time() + 3600, waiting[1]: None})
    assert "It is the next of 2 that wait. It should start in" in client.get(first).text
    assert "It is number 2 of 2 that wait. When it will start is not known." in client.get(second).text
    assert "number 2 of 2 that wait" in client.get("/deployments").text


def test_health_tells_what_is_wrong(
    app: OpenAPI, context: MasterContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = app.test_client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json == {"database": "ok", "redis": "ok"}

    def gone() -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(context.redis, "ping", gone)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "Redis does not answer" in answer.json["redis"]
    assert client.get("/healthz").status_code == 200


def test_metrics_are_for_this_machine_and_for_operators(
    app: OpenAPI, client: FlaskClient, context: MasterContext
) -> None:
    launch(client)
    stranger = app.test_client()
    local = stranger.get("/metrics")
    assert 'openraas_queue_depth{queue="scheduler"} 1.0' in local.text
    assert 'openraas_instances{state="requested"} 1.0' in local.text
    assert "openraas_request_seconds_bucket" in local.text
    for environ in (
        {"REMOTE_ADDR": "192.0.2.1"},
        {"HTTP_X_FORWARDED_FOR": "192.0.2.1"},
        {"HTTP_HOST": "evil.test"},
    ):
        assert stranger.get("/metrics", environ_overrides=environ).status_code == 403
    far = {"REMOTE_ADDR": "192.0.2.1"}
    operator, user = add_person(context, "olga", UserRole.OPERATOR)[2], add_person(context, "bob")[2]
    assert stranger.get("/metrics", environ_overrides=far, headers=bearer(operator)).status_code == 200
    assert stranger.get("/metrics", environ_overrides=far, headers=bearer(user)).status_code == 403


@pytest.fixture
def flower(context: MasterContext) -> Iterator[list[tuple[str, dict[str, str]]]]:
    """A server at Flower's socket that remembers what it was asked."""
    asked: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.send_header("Set-Cookie", "theirs=1")
            self.end_headers()
            self.wfile.write(b"flower")

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return "test"

    context.paths.run.mkdir(parents=True, exist_ok=True)
    with ThreadingUnixStreamServer(str(context.paths.run / "flower.sock"), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield asked
        server.shutdown()
        thread.join(5)


def test_flower_is_reached_behind_the_sign_in_and_sees_no_credentials(
    client: FlaskClient, flower: list[tuple[str, dict[str, str]]]
) -> None:
    answer = client.get("/flower/tasks?limit=5%2F6")
    assert answer.text == "flower"
    assert "Set-Cookie" not in answer.headers
    path, headers = flower[0]
    assert path == "/flower/tasks?limit=5%2F6"
    assert not {"cookie", "authorization"} & set(headers)


def test_without_flower_the_portal_says_so(client: FlaskClient) -> None:
    answer = client.get("/flower/")
    assert answer.status_code == 503
    assert "Flower does not answer" in answer.text


def test_gunicorn_serves_the_portal(
    context: MasterContext, redis_server: RedisServer, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "OPENRAAS_STATE_DIR": str(context.settings.state_dir),
        "OPENRAAS_REDIS_URL": redis_server.url,
    }
    command = [sys.executable, "-m", "gunicorn", "master.web.wsgi:app", "--bind", f"127.0.0.1:{port}",
               "--worker-class", "gthread", "--threads", "8", "--no-control-socket"]  # fmt: skip
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:

        def ready() -> bool:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            except OSError:
                return False
            finally:
                connection.close()

        wait_until(ready, 60, "gunicorn's answer")
    finally:
        process.terminate()
        process.wait(20)


def test_a_list_takes_no_query_more_for_each_of_its_rows(client: FlaskClient) -> None:
    launch(client, key="first")
    one = count_queries(client)
    for number in range(5):
        launch(client, key=f"more-{number}")
    assert count_queries(client) == one


def count_queries(client: FlaskClient) -> int:
    context: MasterContext = client.application.extensions["openraas"]
    seen: list[str] = []

    def remember(*arguments: object) -> None:
        seen.append(str(arguments[2]))

    event.listen(context.database.engine, "before_cursor_execute", remember)
    try:
        assert client.get("/deployments").status_code == 200
    finally:
        event.remove(context.database.engine, "before_cursor_execute", remember)
    return len(seen)
