"""Every page as different people meet it: light and dark, on a phone, by keyboard, with a screen reader, in German.

With `OPENRAAS_SCREENSHOTS=DIRECTORY` a picture of each page is kept, as `make screenshots` does.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from hatch_build import compile_translations
from tests.support.redis import run_redis
from tests.support.showcase import DOORS, Showcase, showcase

pytestmark = pytest.mark.browser

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
GRAVE = {"serious", "critical"}
PHONE = {"width": 375, "height": 740}
WIDE = {"width": 1280, "height": 860}
MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Showcase]:
    """Made once: these tests look and change nothing."""
    compile_translations()
    directory = tmp_path_factory.mktemp("showcase")
    with run_redis(directory / "redis") as server, showcase(directory / "state", server.url) as made:
        yield made


def open_pages(browser: Browser, portal: Showcase, **options: Any) -> Iterator[tuple[str, Page]]:
    """Every page, one after the other; signing in is looked at before it is done."""
    context = browser.new_context(viewport=options.pop("viewport", WIDE), reduced_motion="reduce", **options)
    try:
        page = context.new_page()
        addresses = dict(portal.pages)
        for name in DOORS:
            page.goto(portal.address + addresses.pop(name))
            yield name, page
        portal.sign_in(page)
        for name, path in addresses.items():
            page.goto(portal.address + path)
            yield name, page
    finally:
        context.close()


def keep(page: Page, name: str) -> None:
    """Keep a picture if somebody asked for pictures."""
    if directory := os.environ.get("OPENRAAS_SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)


def grave_findings(page: Page) -> list[str]:
    """What axe-core finds serious or critical: the rule, and where."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{item['id']}: {node['target']} {node.get('failureSummary', '')}"
        for item in found["violations"]
        if item["impact"] in GRAVE
        for node in item["nodes"]
    ]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_everybody_can_use_every_page(browser: Browser, portal: Showcase, look: str) -> None:
    found = []
    for name, page in open_pages(browser, portal, color_scheme=look):
        keep(page, f"{name}-{look}")
        found += [f"{name}: {finding}" for finding in grave_findings(page)]
    assert found == [], "\n".join(found)


def test_every_page_fits_a_phone_in_every_language(browser: Browser, portal: Showcase) -> None:
    too_wide = []
    for language in ("en", "de"):
        for name, page in open_pages(browser, portal, viewport=PHONE, locale=language):
            keep(page, f"{name}-phone-{language}")
            if page.evaluate("document.documentElement.scrollWidth") > PHONE["width"]:
                too_wide.append((language, name))
    assert too_wide == []


def test_the_first_page_is_small_and_nothing_comes_from_elsewhere(browser: Browser, portal: Showcase) -> None:
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()
    portal.sign_in(page)
    page.goto(f"{portal.address}/applications", wait_until="networkidle")
    loaded = page.evaluate("performance.getEntries().filter(e => 'transferSize' in e).map(e => e.name)")
    sizes = {address: len(gzip.compress(context.request.get(address).body())) for address in loaded}
    context.close()
    assert len(sizes) > 3
    assert all(address.startswith(portal.address) for address in sizes), sizes
    assert sum(sizes.values()) < MOST_BYTES, sizes


def test_the_charts_of_a_running_instance_begin_when_somebody_looks(
    browser: Browser, portal: Showcase
) -> None:
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()
    portal.sign_in(page)
    page.goto(f"{portal.address}/deployments/{portal.deployments['running']}")
    memory = page.locator("[data-chart=memory]")
    memory.scroll_into_view_if_needed(timeout=20_000)
    expect(memory.locator("[data-now]")).to_contain_text("/ 1 GiB", timeout=20_000)
    expect(memory.locator(".line")).to_have_attribute("points", re.compile(r"\d .*\d"), timeout=20_000)
    keep(page, "deployment-uses")
    context.close()


def test_light_and_dark_are_chosen_without_scripts_and_kept(browser: Browser, portal: Showcase) -> None:
    context = browser.new_context(java_script_enabled=False, color_scheme="light")
    page = context.new_page()
    page.goto(f"{portal.address}/sign-in")
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-appearance", "dark")
    page.goto(f"{portal.address}/sign-in")
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Deutsch").click()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("heading", name="Anmelden")).to_be_visible()
    context.close()


def press_to(page: Page, name: str) -> None:
    """Go on with the Tab key until what has this name is reached."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if name in page.evaluate("document.activeElement.textContent + (document.activeElement.name ?? '')"):
            return
    pytest.fail(f"{name!r} is not reached with the Tab key")


def test_the_main_job_is_done_with_the_keyboard_alone(browser: Browser, portal: Showcase) -> None:
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()
    page.goto(f"{portal.address}/sign-in")
    press_to(page, "Skip to the page")
    page.keyboard.press("Enter")
    press_to(page, "name")
    page.keyboard.type("ben")
    press_to(page, "password")
    page.keyboard.type(portal.passwords["ben"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Applications")).to_be_visible()

    page.keyboard.press("/")
    page.keyboard.type("debian")
    expect(page.get_by_role("link", name="Code editor")).to_be_hidden()
    press_to(page, "A Debian")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="A Debian")).to_be_visible()
    press_to(page, "Start A Debian")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    press_to(page, "Stop")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Start again")).to_be_visible()
    context.close()


def test_what_is_typed_filters_at_once_and_says_when_nothing_is_left(
    browser: Browser, portal: Showcase
) -> None:
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()
    portal.sign_in(page, "ben")
    page.get_by_role("searchbox").fill("browser game nothing")
    expect(page.get_by_text("No application is like that")).to_be_visible()
    page.get_by_role("searchbox").fill("drawings")
    expect(page.get_by_role("link", name="Inkscape")).to_be_visible()
    expect(page.get_by_text("No application is like that")).to_be_hidden()
    context.close()
