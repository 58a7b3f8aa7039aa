"""Screens in a real browser: the sample images, built here, behind a box's gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from rich.console import Console

from common.access.desktop import Desktop
from common.words import SessionMode
from master.up.building import Builder
from master.up.display import Display
from tests.support.debian import give_base_image
from tests.support.engine import run_engine
from tests.support.gateway import Gateway, run_gateway
from tests.support.redis import wait_until
from tests.support.screens import RunningScreen, run_screen

pytestmark = [pytest.mark.browser, pytest.mark.long]

APPLICATIONS = Path(__file__).parents[2] / "compose" / "applications"
LIMIT_S = 60.0
# Colours in a picture that shows something: an empty ground has a few.
MANY_COLOURS = 40
# More of the game's picture than this is black with the map only.
MAP_SHARE = 0.5
WHITE = 0x00FFFFFF
WHITE_PIXELS = 500_000


@dataclass(frozen=True)
class Samples:
    """An engine that builds the samples' images, each once."""

    engine_url: str
    builder: Builder
    folder: Path

    def image(self, name: str) -> str:
        """The sample's image."""
        image = f"{name}:1"
        if not self.builder.has(image):
            self.builder.build(APPLICATIONS / name, image)
        return image

    def files(self, name: str, fileset: str) -> Path:
        """The files of its fileset."""
        found = self.folder / fileset
        if not found.exists():
            found.mkdir()
            self.builder.build_files(APPLICATIONS / name, "content.Dockerfile", fileset, found)
        return found


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samples]:
    with run_engine() as engine:
        give_base_image(engine.url)
        builder = Builder(engine.url, Display(Console(quiet=True)))
        try:
            yield Samples(engine.url, builder, tmp_path_factory.mktemp("files"))
        finally:
            builder.close()


@pytest.fixture
def gateway(tmp_path: Path, samples: Samples) -> Iterator[Gateway]:
    with run_gateway(tmp_path, engine_url=samples.engine_url) as running:
        yield running


def pixels(screen: RunningScreen) -> memoryview:
    return memoryview(screen.picture().pixels).cast("I")


def shows_map(screen: RunningScreen) -> bool:
    """Whether the game shows its map, lines on black; the level has hardly any."""
    seen = pixels(screen)
    return sum(not pixel & 0xFFFFFF for pixel in seen) > len(seen) * MAP_SHARE


def enter(page: Page, screen: RunningScreen, **ticket: object) -> None:
    """Open the screen and wait for its first picture."""
    page.goto(screen.url(**ticket))
    page.wait_for_selector("#cover", state="hidden", timeout=LIMIT_S * 1000)
    expect(page.locator("#screen canvas")).to_be_visible()


def shown(page: Page) -> str:
    """What the browser's canvas shows now."""
    return str(page.evaluate("document.querySelector('#screen canvas').toDataURL()"))


def test_a_desktop_shows_itself_follows_the_window_and_takes_what_is_typed(
    samples: Samples, gateway: Gateway, page: Page
) -> None:
    page.set_viewport_size({"width": 1100, "height": 700})
    with run_screen(gateway, samples.engine_url, samples.image("desktop")) as screen:
        enter(page, screen)

        def is_as_large() -> bool:
            # Below the bar, whose height has fractions of a pixel.
            below = page.locator("#screen").bounding_box()
            picture = screen.picture()
            assert below is not None
            return (picture.width, picture.height) == (int(below["width"]), int(below["height"]))

        wait_until(is_as_large, LIMIT_S, "a screen as large as the window")
        wait_until(lambda: len(set(pixels(screen))) > MANY_COLOURS, LIMIT_S, "a desktop")
        bare = shown(page)
        screen.container.exec_run(["lxterminal", "-e", "sh"], detach=True)
        wait_until(lambda: shown(page) != bare, LIMIT_S, "the terminal in the browser's picture")

        def typed() -> bool:
            page.locator("#screen canvas").click(position={"x": 200, "y": 200})
            page.keyboard.type("echo Hello > /tmp/typed\n")
            return "Hello" in screen.run("cat", "/tmp/typed")

        # The window may still be on its way to the front when the first keys come.
        wait_until(typed, LIMIT_S, "what was typed")
        page.get_by_role("button", name="Picture").click()
        page.get_by_label("Size").select_option("1280x720")
        wait_until(lambda: screen.picture().width == 1280, LIMIT_S, "the size that was chosen")
        page.get_by_label("Most pictures a second").select_option("10")
        wait_until(lambda: screen.run("vncconfig", "-get", "FrameRate").strip() == "10", LIMIT_S, "the rate")


def test_in_the_game_a_key_changes_the_picture_and_who_watches_has_no_keys(
    samples: Samples, gateway: Gateway, page: Page, browser: Browser
) -> None:
    levels = samples.files("freedoom", "freedoom-levels")
    command = ["/usr/games/chocolate-doom", "-nosound", "-iwad", "/srv/levels/freedoom1.wad"]
    with run_screen(
        gateway,
        samples.engine_url,
        samples.image("freedoom"),
        command=[*command, "-warp", "1", "1", "-nomonsters"],
        way=Desktop(size="640x480", frame_rate=35),
        volumes=[f"{levels}:/srv/levels:ro"],
    ) as screen:
        wait_until(lambda: len(set(pixels(screen))) > MANY_COLOURS, LIMIT_S, "the first level")
        enter(page, screen)
        guest = browser.new_context().new_page()
        enter(guest, screen, mode=SessionMode.WATCH, name="Grace", share="s-1")
        expect(guest.get_by_text("watching")).to_be_visible()
        expect(guest.get_by_role("button", name="Keys")).to_have_count(0)
        page.get_by_role("button", name="Who is here").click()
        expect(page.get_by_role("listitem").filter(has_text="Grace watches")).to_be_visible()
        page.keyboard.press("Escape")

        # The page of who watches sends no keys. Neither does the screen take any that somebody makes it send.
        guest.evaluate(
            """async () => {
                const { default: RFB } = await import('/_openraas/static/packages/novnc/core/rfb.js');
                const address = location.href.replace('http', 'ws') + 'socket';
                window.own = new RFB(document.createElement('div'), address);
                await new Promise((done) => window.own.addEventListener('connect', done));
                window.own.sendKey(0xff09, 'Tab');
                window.own.clipboardPasteFrom('stolen');
            }"""
        )
        guest.keyboard.press("Tab")

        # Had that counted, this would not open the map but close it.
        page.locator("#screen canvas").focus()
        page.keyboard.press("Tab")
        wait_until(lambda: shows_map(screen), LIMIT_S, "the map")
        page.get_by_role("button", name="Keys").click()
        page.get_by_role("button", name="Tab", exact=True).click()
        wait_until(lambda: not shows_map(screen), LIMIT_S, "the level again")


def test_a_program_for_windows_runs(samples: Samples, gateway: Gateway) -> None:
    with run_screen(
        gateway, samples.engine_url, samples.image("wine"), command=["wine", "notepad"]
    ) as screen:
        assert "Microsoft Windows" in screen.run("wine", "cmd", "/c", "ver")
        # Notepad's page is white, and over nearly all of the screen.
        wait_until(lambda: pixels(screen).tolist().count(WHITE) > WHITE_PIXELS, LIMIT_S, "Notepad")


def test_a_single_program_fills_the_screen_and_comes_back_when_it_is_closed(
    samples: Samples, gateway: Gateway
) -> None:
    with run_screen(gateway, samples.engine_url, samples.image("inkscape")) as screen:
        wait_until(lambda: len(set(pixels(screen))) > MANY_COLOURS, LIMIT_S, "Inkscape")
        first = screen.run("pidof", "inkscape").strip()
        assert first
        screen.run("kill", first)
        wait_until(
            lambda: screen.run("pidof", "inkscape").strip() not in ("", first), LIMIT_S, "Inkscape again"
        )


@pytest.mark.parametrize("width", [375, 1280])
def test_the_bar_fits_and_is_reached_by_keys_alone(
    samples: Samples, gateway: Gateway, page: Page, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    with run_screen(
        gateway, samples.engine_url, samples.image("graphical"), command=["sleep", "1000"]
    ) as screen:
        enter(page, screen)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for button in page.get_by_role("toolbar").get_by_role("button").all():
            expect(button).to_have_accessible_name(re.compile("."))
        page.keyboard.down("Control")
        page.keyboard.down("Alt")
        page.keyboard.press("Shift")
        page.keyboard.up("Alt")
        page.keyboard.up("Control")
        expect(page.get_by_role("button", name="Keys")).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("button", name="Clipboard")).to_be_focused()
        page.keyboard.press("Enter")
        page.get_by_label("Copied on the screen").fill("Übergabe")
        page.get_by_role("button", name="Give to the screen").click()
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        expect(page.locator("#screen canvas")).to_be_focused()
        page.get_by_role("button", name="Hide the bar").click()
        page.get_by_role("button", name="Show the bar").click()
        expect(page.get_by_role("button", name="Keys")).to_be_visible()
