"""The launch form measures how far the boxes are, in a real browser, and what it saw decides."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from common.vivaldi import Position
from common.words import Coordinate, Endpoint
from master.accounts.models import UserRole
from master.catalogue.manifest import parse_manifest
from master.catalogue.services import publish
from master.context import MasterContext
from master.deployments.models import Deployment, Instance
from master.nearness.map import write_map
from master.web.app import create_app
from tests.support.master import FakeBox, make_master
from tests.support.redis import RedisServer, free_port
from tests.support.scheduling import place_now
from tests.support.web import MANIFEST, add_person, box_with_image, serve

pytestmark = pytest.mark.browser
FAR_S = 0.4
BOTH = re.compile(r"near.*far|far.*near")


@contextmanager
def front(delay_s: float, asked: list[str]) -> Iterator[Endpoint]:
    """Stands for a box's front that is `delay_s` away, and notes what it is asked for."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers['Cookie']}")
            time.sleep(delay_s)  # stands for the road
            self.send_response(204)
            self.send_header("Cache-Control", "no-store")
            self.send_header("Timing-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Endpoint(host="127.0.0.1", port=server.server_port)
        finally:
            server.shutdown()
            thread.join(5)


@pytest.fixture
def master(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    context = make_master(tmp_path, redis_server.url, policy="nearest")
    with context.database.write() as session:
        publish(session, parse_manifest(MANIFEST), None)
    return context


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def boxes(master: MasterContext, asked: list[str]) -> Iterator[dict[str, FakeBox]]:
    """A box that is far, one that is near, and one that cannot be reached; all hold the image."""
    with ExitStack() as stack:
        far = box_with_image(master, "far")
        made = {"far": far, "near": FakeBox(master, "near"), "off": FakeBox(master, "off")}
        far.beat(front=stack.enter_context(front(FAR_S, asked)))
        made["near"].beat(front=stack.enter_context(front(0, asked)))
        made["off"].beat(front=Endpoint(host="127.0.0.1", port=free_port()))
        for box in made.values():
            box.hold(far.layers)
        places = {name: Coordinate(x_ms=200 * number, height_ms=1) for number, name in enumerate(made)}
        write_map(master.redis, {name: Position(place, 0.1) for name, place in places.items()})
        yield made


def open_form(page: Page, address: str, password: str) -> None:
    page.goto(address)
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Notebook").click()
    expect(page.get_by_role("button", name="Start Notebook")).to_be_visible()


def start(page: Page) -> str:
    page.get_by_label("Project").fill("thesis")
    page.get_by_role("button", name="Start Notebook").click()
    page.wait_for_url(re.compile(r"/deployments/d-"))
    return page.url.rsplit("/", 1)[-1]


def test_the_form_measures_the_boxes_and_the_nearer_one_is_taken(
    master: MasterContext, boxes: dict[str, FakeBox], asked: list[str], page: Page
) -> None:
    password = add_person(master, "ada", UserRole.USER)[1]
    with serve(create_app(master)) as address:
        open_form(page, address, password)
        expect(page.locator("[name=round_trips]")).to_have_value(BOTH, timeout=20_000)
        deployment = start(page)
        with master.database.read() as session:
            found = session.get_one(Deployment, deployment)
            near, instance = found.near, found.instances[0].id
        assert near is not None
        trips = near["round_trips_ms"]
        assert set(trips) == {"far", "near"}, "the box that cannot be reached was left out"
        assert trips["near"] < trips["far"]
        assert trips["far"] >= 1000 * FAR_S * 0.9
        # The fronts learn nothing of who asks.
        assert all(line.startswith("/_openraas/ping?") and line.endswith(" None") for line in asked)

        assert place_now(master, instance, 1) == "placed"
        with master.database.read() as session:
            assert session.get_one(Instance, instance).box_id == "near"
        expect(page.locator("p.why")).to_contain_text("near is the nearest to you", timeout=15_000)
        expect(page.locator("p.why")).to_contain_text("was measured before the start")


def test_the_page_may_reach_no_box_that_it_was_not_told_to_measure(
    master: MasterContext, boxes: dict[str, FakeBox], browser: Browser
) -> None:
    password, others = add_person(master, "ada", UserRole.USER)[1], []
    context = browser.new_context()
    page = context.new_page()
    with front(0, others) as stranger, serve(create_app(master)) as address:
        open_form(page, address, password)
        outcome = page.evaluate(
            "url => fetch(url, {mode: 'no-cors'}).then(() => 'reached', () => 'kept away')",
            f"{stranger.url}/_openraas/ping",
        )
    context.close()
    assert outcome == "kept away"
    assert others == []
