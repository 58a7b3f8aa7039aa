"""The main job on real parts, as a person does it in a browser: sign in, pick, start, open, stop.

With `OPENRAAS_SCREENSHOTS=DIRECTORY` the pages are kept as pictures, as `make screenshots` does for the README.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.support.platform import RunningPlatform

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(600)]
START_LIMIT_MS = 60_000


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile."""
    made = browser.new_context(viewport={"width": 1100, "height": 760})
    yield made
    made.close()


def keep(page: Page, name: str) -> None:
    """Keep a picture of the page if somebody asked for pictures."""
    if directory := os.environ.get("OPENRAAS_SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{name}.png")


def sign_in(page: Page, platform: RunningPlatform) -> None:
    """As the first administrator."""
    page.goto(platform.url)
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill((platform.state_dir / "secrets/admin.password").read_text().strip())
    page.get_by_role("button", name="Sign in").click()


def test_a_person_opens_an_application_in_the_browser_and_stops_it(
    platform: RunningPlatform, context: BrowserContext
) -> None:
    page = context.new_page()
    sign_in(page, platform)
    page.get_by_role("link", name="A small site").first.click()
    page.get_by_role("main").get_by_role("button", name="Start A small site").click()
    launch = page.get_by_role("main").get_by_role("link", name="Open", exact=True)
    expect(launch).to_be_visible(timeout=START_LIMIT_MS)
    expect(page.get_by_text("Container started").first).to_be_visible()
    keep(page, "deployment")
    with context.expect_page() as opened:
        launch.click()
    application = opened.value
    expect(application.get_by_role("heading", name="It runs near you")).to_be_visible()
    instance = re.match(r"http://(i-[0-9a-f]+)\.localhost:", application.url)
    assert instance, application.url
    cookies = {cookie["name"]: cookie for cookie in context.cookies(application.url)}
    assert set(cookies) == {"__Host-openraas"}, "the application's origin sees a cookie of the portal"
    assert cookies["__Host-openraas"]["httpOnly"]

    page.get_by_role("button", name="Stop").first.click()
    expect(page.get_by_text("stopped", exact=True).first).to_be_visible(timeout=START_LIMIT_MS)
    gone = application.goto(application.url)
    assert gone is not None
    assert gone.status in (401, 403, 404, 410)


def test_a_launch_link_opens_only_once(platform: RunningPlatform, browser: Browser) -> None:
    deployment = platform.start("site")
    platform.wait(deployment, "running")
    url = platform.call("POST", f"/deployments/{deployment}/ticket")["url"]
    for expected in (200, 401):
        stranger = browser.new_context()
        answer = stranger.new_page().goto(url)
        assert answer is not None
        assert answer.status == expected, answer.text()
        stranger.close()
    platform.stop(deployment)
