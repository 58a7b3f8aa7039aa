"""My files in a real browser, with a real filestore behind nginx, and the same home by rclone."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_pages import grave_findings, keep
from tests.support.files import MIB, need_files
from tests.support.home import HomePortal, running_home_portal
from tests.support.redis import RedisServer

pytestmark = pytest.mark.browser

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="60">'
    '<rect width="90" height="60" fill="teal"/></svg>'
)


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory, shared_redis: RedisServer) -> Iterator[HomePortal]:
    need_files()
    with running_home_portal(tmp_path_factory.mktemp("f"), shared_redis) as made:
        yield made


def sign_in(page: Page, portal: HomePortal) -> None:
    page.goto(f"{portal.address}/sign-in?next=/files")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(portal.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="My files")).to_be_visible()


def look(page: Page, name: str) -> None:
    """The page is for everybody: nothing grave for a screen reader, nothing sticks out of a phone."""
    assert grave_findings(page) == []
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 900})
        keep(page, f"{name}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    page.set_viewport_size({"width": 1280, "height": 900})


def test_files_are_uploaded_shown_renamed_downloaded_and_deleted(
    page: Page, portal: HomePortal, tmp_path: Path
) -> None:
    big = os.urandom(20 * MIB)
    (tmp_path / "big.bin").write_bytes(big)
    (tmp_path / "note é.txt").write_text("hello from ada")
    sign_in(page, portal)
    page.get_by_label("Upload files").set_input_files([tmp_path / "big.bin", tmp_path / "note é.txt"])
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_role("link", name="big.bin").first).to_be_visible()
    expect(page.get_by_role("link", name="note é.txt").first).to_be_visible()
    look(page, "files")

    page.get_by_role("link", name="note é.txt").first.click()
    expect(page.get_by_text("hello from ada")).to_be_visible()
    look(page, "file")
    page.go_back()
    page.get_by_label("More for big.bin").click()
    look(page, "files-more")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).click()
    assert Path(download.value.path()).read_bytes() == big
    assert download.value.suggested_filename == "big.bin"

    page.get_by_label("Name of the new folder").fill("work")
    page.get_by_role("button", name="Make", exact=True).click()
    page.get_by_label("More for note é.txt").click()
    row = page.get_by_role("row").filter(has_text="note é.txt")
    row.get_by_label("New name or place").fill("work/renamed.txt")
    row.get_by_role("button", name="Move").click()
    expect(page.get_by_text("renamed.txt")).to_be_visible()

    page.goto(f"{portal.address}/files")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Choose work").check()
    page.get_by_role("button", name="Delete chosen").click()
    expect(page.get_by_role("link", name="work", exact=True)).to_have_count(0)


def test_what_is_there_already_is_replaced_only_when_that_is_chosen(
    page: Page, portal: HomePortal, tmp_path: Path
) -> None:
    (tmp_path / "twice").write_text("first")
    sign_in(page, portal)
    for text in ("first", "second"):
        (tmp_path / "twice").write_text(text)
        page.get_by_label("Upload files").set_input_files(tmp_path / "twice")
        page.get_by_role("button", name="Upload", exact=True).click()
        if text == "first":
            expect(page.get_by_role("link", name="twice").first).to_be_visible()
    expect(page.get_by_text("There is something called twice already.")).to_be_visible()
    look(page, "files-taken")
    page.get_by_role("button", name="Replace").click()
    expect(page.locator("#uploads .doing").last).to_have_text("here")
    page.get_by_role("link", name="twice").first.click()
    expect(page.get_by_text("second")).to_be_visible()


def test_a_form_without_scripts_uploads_too(browser: Browser, portal: HomePortal, tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("plain")
    (tmp_path / "picture.svg").write_text(SVG)
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        sign_in(page, portal)
        page.get_by_label("Upload files").set_input_files([tmp_path / "plain.txt", tmp_path / "picture.svg"])
        page.get_by_role("button", name="Upload", exact=True).click()
        expect(page.get_by_text("2 files are here.")).to_be_visible()
        page.get_by_role("link", name="plain.txt").first.click()
        expect(page.get_by_text("plain", exact=True)).to_be_visible()
        page.goto(f"{portal.address}/files/show?path=picture.svg")
        picture = page.get_by_role("img", name="picture.svg")
        expect(picture).to_be_visible()
        assert picture.bounding_box()["width"] == 90  # type: ignore[index]
    finally:
        context.close()


def test_a_link_lets_others_read_or_add_until_it_is_taken_back(
    page: Page, browser: Browser, portal: HomePortal, tmp_path: Path
) -> None:
    sign_in(page, portal)
    for folder in ("shown", "inbox"):
        page.get_by_label("Name of the new folder").fill(folder)
        page.get_by_role("button", name="Make", exact=True).click()
        expect(page.get_by_role("link", name=folder, exact=True)).to_be_visible()
    (tmp_path / "gift.txt").write_text("a gift")
    links = {}
    for folder, kind in (("shown", "read"), ("inbox", "add")):
        page.goto(f"{portal.address}/files")
        page.get_by_label(f"More for {folder}").click()
        row = page.get_by_role("row").filter(has_text=folder)
        row.locator("select[name=kind]").select_option(kind)
        row.get_by_role("button", name="Make a link").click()
        links[kind] = page.locator("#link").inner_text()
    look(page, "files-link")
    guest = browser.new_context()
    try:
        other = guest.new_page()
        other.goto(links["add"])
        expect(other.get_by_role("heading", name="inbox")).to_be_visible()
        other.get_by_label("Upload files").set_input_files(tmp_path / "gift.txt")
        other.get_by_role("button", name="Upload", exact=True).click()
        expect(other.locator("#uploads .doing")).to_have_text("here")
        look(other, "share-add")
        other.goto(links["read"])
        expect(other.get_by_role("heading", name="shown")).to_be_visible()
        look(other, "share-read")
        page.goto(f"{portal.address}/files?path=inbox")
        expect(page.get_by_role("link", name="gift.txt").first).to_be_visible()
        page.get_by_role("button", name="Take back").first.click()
        page.get_by_role("button", name="Take back").first.click()
        for link in links.values():
            assert other.goto(link).status == 404  # type: ignore[union-attr]
    finally:
        guest.close()


def test_the_same_home_is_reached_by_webdav_with_an_api_token(portal: HomePortal) -> None:
    portal.context.redis.ping()
    url = f"http://127.0.0.1:{portal.home.port}/webdav/"
    for target, more in ((url, ()), (f"{portal.address}/webdav/", ("--location-trusted",))):
        done = subprocess.run(
            ["curl", "-sS", "-X", "PROPFIND", "-H", "Depth: 1", "-u", f"ada:{portal.token}", *more, target],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert "multistatus" in done.stdout, done.stdout + done.stderr
    name = f"by-curl-{time.time_ns()}"
    subprocess.run(
        ["curl", "-sSf", "-u", f"ada:{portal.token}", "-T", __file__, f"{url}{name}"],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    got = subprocess.run(
        ["curl", "-sSf", "-u", f"ada:{portal.token}", f"{url}{name}"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert got.stdout == Path(__file__).read_bytes()
