"""The simulator's pages in a browser: the form, live progress, plots under the portal's policy, small screens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from master.accounts.models import UserRole
from master.context import MasterContext
from master.simulation.keeper import Keeper
from master.web.app import create_app
from tests.support.master import make_master
from tests.support.redis import RedisServer
from tests.support.web import add_person, serve

pytestmark = pytest.mark.browser

ENDS_MS = 240_000


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@contextmanager
def kept(context: MasterContext) -> Iterator[None]:
    """A keeper at work."""
    keeper, over = Keeper(context), threading.Event()

    def work() -> None:
        while not over.wait(0.1):
            keeper.look()
        keeper._give_up()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def test_a_simulation_is_asked_for_followed_and_its_plots_are_seen(
    context: MasterContext, page: Page
) -> None:
    password = add_person(context, "ada", UserRole.OPERATOR)[1]
    with serve(create_app(context)) as address, kept(context):
        page.goto(f"{address}/sign-in")
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill(password)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}/applications")
        page.goto(f"{address}/simulations/new")
        page.get_by_label("Changed figures").fill(
            "people.count=20\nservers.count=3\nslots.count=2\ntasks.desktop.applications=2"
        )
        page.get_by_label("random").check()
        page.get_by_label("Seeds", exact=True).fill("2")
        page.get_by_role("button", name="Simulate").click()
        expect(page.get_by_role("heading", name="In short")).to_be_visible(timeout=ENDS_MS)
        plots = page.locator(".plots img")
        assert plots.count() > 5
        for number in range(plots.count()):
            plots.nth(number).scroll_into_view_if_needed()
            width = "image => image.decode().then(() => image.naturalWidth)"
            assert plots.nth(number).evaluate(width) > 100
        result = page.url
        for width_px in (375, 1280):
            page.set_viewport_size({"width": width_px, "height": 900})
            for path in (result, f"{address}/simulations", f"{address}/simulations/new"):
                page.goto(path)
                assert page.evaluate("document.documentElement.scrollWidth") <= width_px, path
