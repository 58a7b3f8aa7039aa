"""The main job in a real browser: sign in, pick, correct, start, watch it come to life, open, stop."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from common.words import Endpoint, InstanceState
from master.accounts.models import UserRole
from master.catalogue.manifest import parse_manifest
from master.catalogue.services import publish
from master.context import MasterContext
from master.deployments.events import add_row, set_state
from master.deployments.models import Deployment
from master.web.app import create_app
from tests.support.master import FakeBox, make_master
from tests.support.redis import RedisServer
from tests.support.web import MANIFEST, add_person, box_with_image, serve

pytestmark = pytest.mark.browser


@dataclass(frozen=True)
class Portal:
    """A portal with a notebook in its catalogue, and a person who may use it."""

    context: MasterContext
    box: FakeBox
    address: str
    password: str

    def step(self, deployment: str, state: InstanceState, name: str, **fields: object) -> None:
        """What the lifecycle would write when a box reports."""
        with self.context.database.write() as session:
            instance = session.get_one(Deployment, deployment).instances[0]
            instance.box_id = "alpha"
            if instance.state == state.value:
                add_row(session, self.context.redis, instance, name, **fields)
            else:
                set_state(session, self.context.redis, instance, state, name, **fields)


@pytest.fixture
def portal(tmp_path: Path, redis_server: RedisServer) -> Iterator[Portal]:
    context = make_master(tmp_path, redis_server.url)
    box = box_with_image(context)
    with context.database.write() as session:
        publish(session, parse_manifest(MANIFEST), None)
    password = add_person(context, "ada", UserRole.USER)[1]
    with serve(create_app(context)) as address:
        yield Portal(context, box, address, password)


def sign_in(page: Page, portal: Portal) -> None:
    page.goto(portal.address)
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(portal.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Applications")).to_be_visible()


def start(page: Page, portal: Portal) -> str:
    """Start the notebook; gives the deployment's id."""
    page.goto(f"{portal.address}/applications/notebook")
    page.get_by_label("Project").fill("thesis")
    page.get_by_role("button", name="Start Notebook").click()
    page.wait_for_url(re.compile(r"/deployments/d-"))
    return page.url.rsplit("/", 1)[-1]


def test_from_signing_in_to_a_running_application(page: Page, portal: Portal) -> None:
    sign_in(page, portal)
    page.get_by_role("link", name="Notebook").click()
    page.get_by_label("Kernels").fill("9")
    page.get_by_label("Project").fill("My Thesis")
    page.get_by_role("button", name="Start Notebook").click()
    expect(page.get_by_text("At most 4.")).to_be_visible()
    expect(page.get_by_label("Project")).to_have_value("My Thesis")
    expect(page.get_by_label("Project")).to_have_attribute("aria-invalid", "true")

    page.get_by_label("Kernels").fill("3")
    page.get_by_label("Project").fill("my-thesis")
    page.get_by_role("button", name="Start Notebook").click()
    page.wait_for_url(re.compile(r"/deployments/d-"))
    deployment = page.url.rsplit("/", 1)[-1]
    expect(page.get_by_role("button", name="Open")).to_be_disabled()

    # The page is never loaded again: what follows arrives by itself.
    page.evaluate("window.stayed = true")
    portal.step(deployment, InstanceState.PLACED, "placed", detail="alpha is nearest.")
    expect(page.get_by_text("alpha is nearest.")).to_be_visible()
    portal.step(
        deployment, InstanceState.PREPARING, "fetch", took_s=1.5, size_bytes=3 * 2**20, sources={"beta": 3}
    )
    expect(page.get_by_text("3 MiB from beta")).to_be_visible()
    portal.step(deployment, InstanceState.RUNNING, "ready", took_s=0.05)
    expect(page.get_by_role("link", name="Open", exact=True)).to_be_visible()
    expect(page.get_by_text("Where the time went")).to_be_visible()
    assert page.evaluate("window.stayed") is True

    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("stopping").first).to_be_visible()
    portal.step(deployment, InstanceState.STOPPED, "stopped")
    expect(page.get_by_role("link", name="Start again")).to_be_visible()


@contextmanager
def gateway() -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Stands for a box's gateway: gives its port, and which host and path it was asked for."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.headers["Host"], self.path))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"hello from the application")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join(5)


def test_open_leads_to_the_instances_own_origin(page: Page, portal: Portal) -> None:
    sign_in(page, portal)
    deployment = start(page, portal)
    with gateway() as (port, asked):
        portal.box.beat(front=Endpoint(host="127.0.0.1", port=port))
        portal.step(deployment, InstanceState.PLACED, "placed")
        portal.step(deployment, InstanceState.RUNNING, "ready")
        with page.expect_popup() as popup:
            page.get_by_role("link", name="Open", exact=True).click()
        expect(popup.value.get_by_text("hello from the application")).to_be_visible()
    host, path = asked[0]
    assert re.fullmatch(rf"i-[0-9a-f]+\.localhost:{port}", host)
    assert path.startswith("/_openraas/enter?ticket=")


def test_when_events_do_not_come_the_page_asks(page: Page, portal: Portal) -> None:
    page.route("**/events", lambda route: route.abort())
    sign_in(page, portal)
    deployment = start(page, portal)
    portal.step(deployment, InstanceState.PLACED, "placed", detail="alpha is nearest.")
    expect(page.get_by_text("alpha is nearest.")).to_be_visible(timeout=15_000)


def test_without_scripts_the_main_job_is_done_as_well(browser: Browser, portal: Portal) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, portal)
    deployment = start(page, portal)
    portal.step(deployment, InstanceState.PLACED, "placed")
    portal.step(deployment, InstanceState.RUNNING, "ready")
    # The page loads itself again every few seconds.
    expect(page.get_by_role("link", name="Open", exact=True)).to_be_visible(timeout=15_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("stopping").first).to_be_visible()
    context.close()


@pytest.mark.parametrize("width", [320, 390, 768, 1600])
def test_nothing_sticks_out_on_any_screen(browser: Browser, portal: Portal, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    portal.box.beat(master_ms=123.4, coordinate_error=0.25, temperature_c=61.0)
    FakeBox(portal.context, "omega", master_ms=0.5, coordinate_error=0.5)
    sign_in(page, portal)
    start(page, portal)
    others = (
        "/applications",
        "/applications/notebook",
        "/deployments",
        "/boxes",
        "/layers",
        "/layers/transfers",
        "/mirrors",
        "/account",
        "/about",
    )
    for path in (page.url, *(portal.address + other for other in others)):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    context.close()


def test_the_rest_interface_is_browsed_without_a_request_elsewhere(page: Page, portal: Portal) -> None:
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.goto(f"{portal.address}/api/docs")
    expect(page.get_by_text("Start an application")).to_be_visible(timeout=20_000)
    assert hosts == {portal.address.split("/")[2]}
