"""A real browser at the gateway: does it keep a `__Host-` cookie on a name under localhost?"""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.gateway import Gateway

pytestmark = pytest.mark.browser

OPEN_SOCKET = """origin => new Promise(done => {
    const socket = new WebSocket(origin.replace('http', 'ws') + '/socket');
    socket.onopen = () => done('open');
    socket.onerror = () => done('refused');
})"""


def test_a_browser_opens_an_instance_by_a_ticket_and_keeps_its_session(gateway: Gateway) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    origin = f"http://i-1.localhost:{gateway.config.front_port}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            assert page.goto(f"{origin}/").status == 401  # type: ignore[union-attr]
            page.goto(f"{origin}/_openraas/enter?ticket={gateway.ticket()}")
            assert page.url == f"{origin}/"
            assert '"path": "/"' in page.content()
            assert page.evaluate("fetch('/again').then(answer => answer.status)") == 200
            assert page.evaluate("document.cookie") == ""
            assert page.evaluate(OPEN_SOCKET, origin) == "open"
            gateway.add("i-2")
            other = f"http://i-2.localhost:{gateway.config.front_port}"
            page.goto(f"{other}/_openraas/enter?ticket={gateway.ticket('i-2')}")
            page.evaluate(
                "origin => fetch(`${origin}/stolen`, {mode: 'no-cors', credentials: 'include'})", origin
            )
            assert page.evaluate(OPEN_SOCKET, origin) == "refused"
        finally:
            browser.close()
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if line.startswith("{")]
    # Under localhost the browser already keeps the cookie back (401); under one domain the gateway refuses (403).
    assert [line["status"] in (401, 403) for line in lines if line["path"] == "/stolen"] == [True]
