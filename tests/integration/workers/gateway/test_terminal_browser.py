"""The terminal's page in a real browser: typing changes a file, a broken connection heals, a watcher cannot type."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from common.access import TERMINAL
from common.words import SessionMode
from tests.support.containers import run_busybox
from tests.support.engine import EngineServer, run_engine
from tests.support.gateway import Gateway, run_gateway
from tests.support.redis import wait_until
from workers.gateway.nginx import server_command

pytestmark = [pytest.mark.browser, pytest.mark.engine]
LIMIT_S = 20.0


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineServer]:
    with run_engine() as server:
        yield server


@pytest.fixture(scope="module")
def container(engine: EngineServer) -> Iterator[str]:
    with run_busybox(engine.url) as running:
        yield running


@pytest.fixture
def gateway(tmp_path: Path, engine: EngineServer, container: str) -> Iterator[Gateway]:
    with run_gateway(tmp_path, engine_url=engine.url) as running:
        running.add("i-t", access=TERMINAL, container=container)
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def enter(
    chromium: Browser, gateway: Gateway, *, size: tuple[int, int] = (900, 600), **changes: object
) -> Page:
    """A fresh profile in the session; what it complains of fails the test."""
    context = chromium.new_context(viewport={"width": size[0], "height": size[1]})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(
        f"http://i-t.localhost:{gateway.config.front_port}/_openraas/enter?ticket={gateway.ticket('i-t', **changes)}"
    )
    return page


def screen(page: Page) -> str:
    """What the visible terminal shows."""
    return str(page.locator(".window:not([hidden]) .xterm-rows").inner_text())


def run(page: Page, text: str) -> None:
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def file_in(engine: EngineServer, container: str, path: str) -> str:
    client = docker.DockerClient(engine.url)
    try:
        return str(client.containers.get(container).exec_run(["cat", path]).output.decode())
    finally:
        client.close()


def keep(page: Page, name: str) -> None:
    """Keep a picture of the page if somebody asked for pictures."""
    if directory := os.environ.get("OPENRAAS_SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{name}.png")


def test_typing_changes_a_file_and_a_broken_connection_finds_its_shell_again(
    chromium: Browser, gateway: Gateway, engine: EngineServer, container: str
) -> None:
    page = enter(chromium, gateway)
    expect(page.locator(".xterm-rows")).to_contain_text("# ")
    run(page, "mine=here; echo typed-$((40+2)) >/tmp/typed; echo stored")
    wait_until(lambda: file_in(engine, container, "/tmp/typed") == "typed-42\n", LIMIT_S, "the file")
    keep(page, "terminal")

    gateway.nginx.terminate()
    gateway.nginx.wait(10)
    expect(page.get_by_text("The connection is broken")).to_be_visible()
    gateway.nginx = subprocess.Popen(server_command(gateway.config, gateway.paths), stdout=subprocess.DEVNULL)
    expect(page.get_by_text("The connection is broken")).to_be_hidden(timeout=LIMIT_S * 1000)
    page.locator(".xterm-helper-textarea").focus()
    run(page, "echo $mine-again")
    expect(page.locator(".xterm-rows")).to_contain_text("here-again")

    page.reload()
    expect(page.locator(".xterm-rows")).to_contain_text("here-again")
    page.get_by_role("button", name="New window").click()
    expect(page.get_by_role("tab")).to_have_count(2)
    wait_until(lambda: "# " in screen(page), LIMIT_S, "a prompt in the second window")
    run(page, "echo second-$mine-")
    wait_until(lambda: "second--" in screen(page), LIMIT_S, "a shell of its own")
    page.get_by_role("button", name="Close shell 2").click()
    expect(page.get_by_role("tab")).to_have_count(1)
    page.context.close()


def test_a_watcher_sees_what_is_typed_and_cannot_type(
    chromium: Browser, gateway: Gateway, engine: EngineServer, container: str
) -> None:
    page = enter(chromium, gateway, name="ada")
    expect(page.locator(".xterm-rows")).to_contain_text("# ")
    guest = enter(chromium, gateway, mode=SessionMode.WATCH, share="s-9", name="bob")
    expect(guest.get_by_text("You are watching. Also here: ada")).to_be_visible()
    expect(page.get_by_text("Also here: bob (watching)")).to_be_visible()
    expect(guest.get_by_role("button", name="New window")).to_be_hidden()
    guest.locator(".xterm-helper-textarea").focus()
    run(guest, "echo no >/tmp/no")
    page.locator(".xterm-helper-textarea").focus()
    run(page, "echo yes >/tmp/yes; echo se''en")
    expect(guest.locator(".xterm-rows")).to_contain_text("seen")
    assert file_in(engine, container, "/tmp/yes") == "yes\n"
    assert "No such file" in file_in(engine, container, "/tmp/no")
    keep(guest, "terminal-watching")
    page.context.close()
    expect(guest.get_by_text("Also here: ada")).to_be_hidden(timeout=LIMIT_S * 1000)
    guest.context.close()


def test_a_phone_gets_keys_that_its_keyboard_lacks(chromium: Browser, gateway: Gateway) -> None:
    page = enter(chromium, gateway, size=(375, 667))
    expect(page.locator(".xterm-rows")).to_contain_text("# ")
    page.keyboard.type("sleep 500")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Ctrl").click()
    page.keyboard.type("c")
    run(page, "echo fr''ee")
    expect(page.locator(".xterm-rows")).to_contain_text("free")
    page.get_by_role("button", name="Up").click()
    expect(page.locator(".xterm-rows")).to_contain_text("echo fr''ee")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    keep(page, "terminal-phone")
    page.get_by_label("Settings").click()
    page.get_by_label("Theme").select_option("dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"
    page.get_by_label("For a screen reader").check()
    expect(page.locator(".xterm-accessibility")).to_have_count(1)
    keep(page, "terminal-dark")
    page.context.close()


def test_the_page_warns_of_the_end_until_somebody_puts_it_off(chromium: Browser, gateway: Gateway) -> None:
    gateway.lease(time.time() + 500, "i-t")
    later = time.time() + 50_000
    page = enter(chromium, gateway, session_until=later)
    expect(page.get_by_role("alert").filter(has_text="This session ends in 8 min.")).to_be_visible()
    link = page.get_by_role("link", name="Keep it running longer")
    expect(link).to_have_attribute("href", re.compile(r"/deployments/[^/]+#lease$"))
    keep(page, "terminal-lease")
    page.get_by_label("Settings").click()
    expect(page.get_by_role("link", name="Share")).to_have_attribute("href", re.compile("/share$"))
    expect(page.get_by_role("link", name="Stop")).to_have_attribute("href", re.compile("#stop$"))
    gateway.lease(time.time() + 9000, "i-t", version=2)
    # The page asks anew when somebody comes or goes.
    guest = enter(chromium, gateway, mode=SessionMode.WATCH, share="s-9", name="bob", session_until=later)
    expect(link).to_be_hidden(timeout=LIMIT_S * 1000)
    expect(guest.get_by_text("This session ends")).to_be_hidden()
    guest.context.close()
    page.context.close()


def test_a_program_may_fill_the_clipboard_and_never_read_it(chromium: Browser, gateway: Gateway) -> None:
    page = enter(chromium, gateway)
    expect(page.locator(".xterm-rows")).to_contain_text("# ")
    page.evaluate("navigator.clipboard.writeText('mine alone')")
    page.locator(".xterm-helper-textarea").focus()
    asks = r"printf '\033]52;c;?\007'; head -c 8 | tail -c 6 | tr -d '\007'"
    run(page, f"stty raw -echo; {asks}; stty sane; echo '<'told")
    expect(page.locator(".xterm-rows")).to_contain_text("2;c;<told")
    run(page, r"printf '\033]52;c;'$(printf yours | base64)'\007'")
    page.wait_for_function("navigator.clipboard.readText().then((text) => text === 'yours')")
    page.context.close()
