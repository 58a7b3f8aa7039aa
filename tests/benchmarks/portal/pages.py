"""The first page that a person sees: how many bytes it takes, and that nothing of it comes from elsewhere."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Request, sync_playwright

from tests.benchmarks.lines import Case
from tests.support.platform import RunningPlatform

MOST_KB = 150.0
CHROMIUM = Path("/usr/bin/chromium")


def measure(platform: RunningPlatform) -> list[Case]:
    """The page for signing in, and the catalogue after it; each with an empty cache."""
    with sync_playwright() as playwright:
        path = str(CHROMIUM) if CHROMIUM.exists() else None
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        first = _Visit(browser, platform.url)
        first.go(lambda page: page.goto(f"{platform.url}/sign-in"))
        second = _Visit(browser, platform.url)
        second.go(lambda page: _sign_in(platform, page))
        browser.close()
    outside = [*first.outside, *second.outside]
    for address in outside:
        print("outside the site:", address)
    sizes = [first.size_bytes / 1000, second.size_bytes / 1000]
    return [
        Case("first-page", sizes[0], "kB", "", sizes, at_most=MOST_KB),
        Case("requests-outside-the-site", float(len(outside)), "", "", [float(len(outside))], at_most=0),
    ]


def _sign_in(platform: RunningPlatform, page: Page) -> None:
    name = f"bench-{secrets.token_hex(3)}"
    password = platform.call("POST", "/users", {"name": name})["password"]
    page.goto(f"{platform.url}/sign-in")
    page.fill("input[name=name]", name)
    page.fill("input[name=password]", password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url("**/applications")


class _Visit:
    """What a browser without a cache asks for and gets."""

    def __init__(self, browser: Browser, site: str) -> None:
        self._browser = browser
        self._site = urlsplit(site).netloc
        self.size_bytes = 0
        self.outside: list[str] = []

    def go(self, visit: Callable[[Page], object]) -> None:
        """Do it, and wait until nothing more is asked for."""
        context = self._browser.new_context()
        page = context.new_page()
        page.on("requestfinished", self._finished)
        page.on("request", self._asked)
        visit(page)
        page.wait_for_load_state("networkidle")
        context.close()

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https") and parts.netloc != self._site:
            self.outside.append(request.url)

    def _finished(self, request: Request) -> None:
        sizes = request.sizes()
        self.size_bytes += sizes["responseBodySize"] + sizes["responseHeadersSize"]
