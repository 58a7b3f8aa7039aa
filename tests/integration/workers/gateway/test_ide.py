"""The sample `ide` as a person uses it: opened in a browser through the gateway, a file edited, saved and run."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from playwright.sync_api import expect, sync_playwright
from rich.console import Console

from common.words import Resources
from master.up.building import Builder
from master.up.display import Display
from tests.support.debian import give_base_image
from tests.support.engine import run_engine
from tests.support.gateway import Gateway, run_gateway
from tests.support.platform import SAMPLES
from tests.support.redis import wait_until
from workers.compute.readiness import answers

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.engine, pytest.mark.timeout(2400)]
PORT = 8080
START_S, LIMIT_S = 120.0, 60.0


@pytest.fixture
def ide() -> Iterator[Container]:
    """A container of the sample, built from its Dockerfile, or of the image file that OPENRAAS_IDE_IMAGE names."""
    with run_engine() as engine:
        client = docker.DockerClient(engine.url, timeout=600)
        try:
            if kept := os.environ.get("OPENRAAS_IDE_IMAGE"):
                with Path(kept).open("rb") as file:
                    client.images.load(file)
            else:
                give_base_image(engine.url)
                Builder(engine.url, Display(Console())).build(SAMPLES / "ide", "ide:1")
            container = client.containers.run("ide:1", detach=True, cap_drop=["ALL"], init=True)
            container.reload()
            yield container
        finally:
            client.close()


@pytest.fixture
def gateway(tmp_path: Path, ide: Container) -> Iterator[Gateway]:
    with run_gateway(tmp_path) as running:
        address = ide.attrs["NetworkSettings"]["IPAddress"]
        row = running.instances.admit("i-ide", 1, "d-ide", Resources(), Resources())
        running.instances.place_on(row, "net-ide", [address])
        running.instances.started(row, str(ide.id), PORT, time.time() + START_S)
        wait_until(lambda: answers(address, PORT, "/healthz", timeout_s=5), START_S, "the IDE's answer")
        running.instances.ready(row)
        yield running


def content(ide: Container, path: str) -> str:
    return str(ide.exec_run(["cat", path]).output.decode())


def test_a_file_is_edited_saved_and_run(gateway: Gateway, ide: Container) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    ide.exec_run(["sh", "-c", "printf 'print(40 + 1)' >~/sum.py"])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(LIMIT_S * 1000)
        page.goto(
            f"http://i-ide.localhost:{gateway.config.front_port}/_openraas/enter?ticket={gateway.ticket('i-ide')}"
        )
        page.get_by_role("treeitem", name="sum.py").dblclick(timeout=START_S * 1000)
        expect(page.locator(".view-lines").first).to_contain_text("print(40")
        page.locator(".view-lines").first.click()
        page.keyboard.press("Control+A")
        page.keyboard.type("print(6 * 7)")
        page.keyboard.press("Control+S")
        if directory := os.environ.get("OPENRAAS_SCREENSHOTS"):
            page.screenshot(path=Path(directory) / "ide.png")
        wait_until(
            lambda: content(ide, "/home/person/sum.py").startswith("print(6 * 7)"), LIMIT_S, "the file"
        )
        page.keyboard.press("Control+`")
        terminal = page.locator(".terminal.xterm").first
        terminal.wait_for()

        def has_run() -> bool:
            # A shell that has not begun yet loses what is typed: type again until the program has run.
            terminal.click()
            page.keyboard.type("python3 ~/sum.py >~/result\n", delay=20)
            return content(ide, "/home/person/result") == "42\n"

        wait_until(has_run, START_S, "what the program printed")
        browser.close()
