"""From the click in the launch form to the first paint of the application's page, in Chromium.

`notebook` is the application. Prewarmed, a container that is loaded waits for whoever comes; otherwise the image is
in the engine, and all else begins with the click. The two take turns.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.benchmarks.lines import Case
from tests.support.platform import RunningPlatform

APPLICATION = "notebook"
RUNS = 9
READY_S, PAINT_MS, PUBLISH_S = 120.0, 60_000, 1800.0
CHROMIUM = Path("/usr/bin/chromium")
CLICK = """() => {
  const at = Date.now();
  document.querySelector('button[formaction]').click();
  return at;
}"""
PAINTED = """() => {
  if (!location.hostname.startsWith('i-')) return null;
  const paint = performance.getEntriesByType('paint')[0];
  if (!paint) return null;
  const asked = performance.getEntriesByType('navigation')[0];
  return [0, asked.responseEnd, paint.startTime].map((at) => performance.timeOrigin + at);
}"""


def measure(platform: RunningPlatform) -> list[Case]:
    """Prewarmed and not, alternating."""
    wait_published(platform, APPLICATION)
    prewarm(platform, 0)
    warm_up = platform.start(APPLICATION)  # the image comes into the engine, the home is made
    platform.wait(warm_up, "running", limit_s=READY_S)
    platform.stop(warm_up)
    times: dict[str, list[float]] = {"prewarmed": [], "from-nothing": []}
    with sync_playwright() as playwright:
        path = str(CHROMIUM) if CHROMIUM.exists() else None
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        context = signed_in(platform, browser)
        for _ in range(RUNS):
            for kind, count in (("prewarmed", 1), ("from-nothing", 0)):
                prewarm(platform, count)
                times[kind].append(click_to_paint(platform, context, kind))
        browser.close()
    prewarm(platform, 0)
    return [
        Case(
            "click-to-paint-prewarmed", median(times["prewarmed"]), "s", "", times["prewarmed"], at_most=1.0
        ),
        Case("click-to-paint", median(times["from-nothing"]), "s", "", times["from-nothing"], at_most=2.5),
    ]


def wait_published(platform: RunningPlatform, name: str) -> None:
    """`up --demo` builds the larger samples while people use it already."""
    end = time.monotonic() + PUBLISH_S
    while not any(item["name"] == name for item in platform.call("GET", "/applications")["applications"]):
        assert time.monotonic() < end, f"{name} is not published"
        time.sleep(1)


def prewarm(platform: RunningPlatform, count: int) -> None:
    """So many wait, and no more."""
    platform.call("PUT", f"/prewarmed/{APPLICATION}", {"count": count})
    end = time.monotonic() + READY_S
    while (found := ready(platform)) != count:
        assert time.monotonic() < end, f"{found} of {count} are ready"
        time.sleep(0.2)


def ready(platform: RunningPlatform) -> int:
    """How many wait now."""
    rows: list[dict[str, Any]] = platform.call("GET", "/prewarmed")["prewarmed"]
    return next((int(row["ready"]) for row in rows if row["application"] == APPLICATION), 0)


def signed_in(platform: RunningPlatform, browser: Browser) -> BrowserContext:
    """A browser at which a person has signed in."""
    name = f"bench-{secrets.token_hex(3)}"
    password = platform.call("POST", "/users", {"name": name})["password"]
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{platform.url}/sign-in")
    page.fill("input[name=name]", name)
    page.fill("input[name=password]", password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url("**/applications")
    page.close()
    return context


def click_to_paint(platform: RunningPlatform, context: BrowserContext, kind: str) -> float:
    """Seconds; the deployment is stopped afterwards."""
    page = context.new_page()
    page.goto(f"{platform.url}/applications/{APPLICATION}")
    page.wait_for_load_state("networkidle")
    clicked = page.evaluate(CLICK)
    asked, came, painted = _painted(page)
    page.close()
    deployment = platform.call("GET", "/deployments?everybody=true&running=true")["deployments"][0]
    view = platform.call("GET", f"/deployments/{deployment['id']}")
    rows = view["instances"][0]["timeline"]
    until = {row["step"]: row["at"] - clicked / 1000 for row in rows}
    until |= {"asked": (asked - clicked) / 1000, "came": (came - clicked) / 1000}
    shown = "  ".join(f"{step} {at:.3f}" for step, at in sorted(until.items(), key=lambda item: item[1]))
    print(f"{kind:13} {(painted - clicked) / 1000:6.3f} s: {shown}", flush=True)
    steps = {row["step"] for row in rows}
    assert ("wake" in steps) == (kind == "prewarmed"), steps
    platform.stop(deployment["id"])
    return (painted - clicked) / 1000


def _painted(page: Page) -> tuple[float, float, float]:
    """When the application's page was asked for, came, and was painted first (milliseconds of Unix time)."""
    handle = page.wait_for_function(PAINTED, timeout=PAINT_MS, polling=20)
    asked, came, painted = handle.json_value()
    return float(asked), float(came), float(painted)
