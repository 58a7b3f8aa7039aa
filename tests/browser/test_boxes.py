"""The pages of boxes in a real browser: find one, see how it was, add one's own, switch sharing off."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from common.status import DiskUse, MachineUse
from common.words import Resources, Role
from master.accounts.models import UserRole
from master.boxes.models import Box
from master.metrics.recorder import Recorder
from master.web.app import create_app
from tests.browser.test_pages import grave_findings, keep
from tests.support.master import GIB, FakeBox, make_master
from tests.support.redis import RedisServer
from tests.support.web import add_person, serve

pytestmark = pytest.mark.browser


def look(page: Page, name: str) -> None:
    """The page is for everybody: nothing grave for a screen reader, nothing sticks out of a phone."""
    assert grave_findings(page) == []
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 900})
        keep(page, f"{name}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    page.set_viewport_size({"width": 1280, "height": 900})


def test_a_box_is_found_looked_at_and_taken_back_and_another_one_added(
    page: Page, tmp_path: Path, redis_server: RedisServer
) -> None:
    master = make_master(tmp_path, redis_server.url)
    ada, password, _ = add_person(master, "ada", UserRole.USER)
    alpha = FakeBox(master, "alpha", labels={"site": "north"}, temperature_c=48.0)
    FakeBox(master, "beta", roles=frozenset({Role.DEPOSITORY}))
    FakeBox(master, "gone").go_silent()
    with master.database.write() as session:
        session.get_one(Box, "alpha").owner_id = ada.id
    recorder = Recorder(master)
    begin = int(time.time()) - 3600
    for count, moment in enumerate(range(begin, begin + 3590, 10)):
        wave = 0.5 + 0.4 * math.sin(count / 40)
        alpha.beat(
            machine=MachineUse(
                cpu=wave, memory_bytes=round(3 * GIB * wave), memory_total_bytes=8 * GIB,
                in_bps=4e7 * wave, out_bps=9e6,
            ),
            temperature_c=40 + 20 * wave, used=Resources(cpu=1, memory_bytes=GIB), instances=1,
            disk=DiskUse(lent_bytes=100 * GIB, blobs_bytes=31 * GIB),
        )  # fmt: skip
        recorder.run(moment)
    with serve(create_app(master)) as address:
        page.goto(f"{address}/sign-in?next=/boxes")
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("row")).to_have_count(4)
        look(page, "boxes")
        page.get_by_label("Search").fill("north")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("row")).to_have_count(2)
        page.get_by_role("link", name="alpha").click()
        expect(page.get_by_role("heading", name="alpha")).to_be_visible()
        expect(page.get_by_role("img", name="Processor over 1h")).to_be_visible()
        look(page, "box")
        page.get_by_role("link", name="7d").click()
        expect(page.get_by_role("link", name="7d")).to_have_attribute("aria-current", "page")
        page.get_by_role("button", name="Take nothing new").click()
        expect(page.get_by_text("cordoned")).to_be_visible()
        page.get_by_role("button", name="Share it").click()
        expect(page.get_by_text("cordoned")).to_have_count(0)
        page.goto(f"{address}/boxes")
        page.get_by_role("link", name="Add a machine").click()
        page.get_by_role("button", name="Make the command").click()
        expect(page.locator("#command")).to_contain_text(f"openraas box join {address}")
        look(page, "box-add")
