"""The pages of layers, transfers and mirrors."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from common.names import transfers_key
from common.transfers import BoxTransfers, SourceShare, Transfer
from master.accounts.models import UserRole
from master.accounts.services import find_user
from master.context import MasterContext
from master.images.views import PER_PAGE
from master.layers.views import IMAGES_PER_PAGE, ROWS_PER_IMAGE
from master.mirrors import services as mirrors
from master.web.app import create_app
from tests.support.master import FakeBox, add_image, digest_of, make_master
from tests.support.redis import RedisServer
from tests.support.web import add_person, box_with_image, csrf_token, sign_in


@pytest.fixture
def context(tmp_path: Path, redis_server: RedisServer) -> MasterContext:
    return make_master(tmp_path, redis_server.url)


@pytest.fixture
def client(context: MasterContext) -> FlaskClient:
    """The browser of Ada, an operator; a box holds an image."""
    box_with_image(context)
    client = create_app(context).test_client()
    sign_in(client, "ada", add_person(context, "ada", UserRole.OPERATOR)[1])
    return client


def test_layers_show_who_holds_what_and_a_box_that_is_full_says_so(
    client: FlaskClient, context: MasterContext
) -> None:
    full = FakeBox(context, "full", alert="1.0 GiB of the lent 4.0 GiB should be free.")
    page = client.get("/layers").text
    assert "notebook:1" in page
    assert "There should be 2 copies of each" in page
    assert "1.0 GiB of the lent 4.0 GiB should be free." in page
    assert "1.0 GiB of the lent 4.0 GiB should be free." in client.get("/boxes").text
    full.go_silent()
    assert "should be free." not in client.get("/layers").text


def test_images_are_found_by_name_with_platforms_sizes_and_copies(
    client: FlaskClient, context: MasterContext
) -> None:
    for number in range(PER_PAGE):
        add_image(context, f"many/{number:03}:1", architecture="arm64")
    page = client.get("/images?q=notebook").text
    assert "demo/notebook:1" in page
    assert "amd64" in page
    assert "14.3 MiB" in page
    assert "0 of 2" in page
    assert "many/" not in page
    assert "Page 1 of 2" in client.get("/images").text
    assert "demo/notebook:1" not in client.get("/images?page=2").text
    assert "No image is like that" in client.get("/images?q=nothing").text


def test_a_page_of_layers_stays_short_whatever_boxes_hold(
    client: FlaskClient, context: MasterContext
) -> None:
    box = FakeBox(context, "omega")
    box.hold(f"sha256:{number:064x}" for number in range(1000))
    for number in range(IMAGES_PER_PAGE):
        add_image(context, f"many/{number:03}:1")
    first = client.get("/layers").text
    assert "Page 1 of 2" in first
    assert f"many/{IMAGES_PER_PAGE - 2:03}:1" in first
    last = client.get("/layers?page=99").text
    assert "Page 2 of 2" in last
    assert f"{1000 - ROWS_PER_IMAGE} more" in last
    assert "Page 1 of 2" in client.get("/layers?page=nothing").text


def test_transfers_show_who_gives_what_and_who_is_banned(client: FlaskClient, context: MasterContext) -> None:
    assert "Nothing is on its way" in client.get("/layers/transfers").text
    sources = [
        SourceShare(box="seed", state="giving", size_bytes=2**20, rate_bps=94_000_000),
        SourceShare(box="peer", state="giving", fetching=True, size_bytes=0, rate_bps=0),
        SourceShare(box="gone", state="left", size_bytes=0, rate_bps=0, detail="it is <silent>"),
        SourceShare(box="liar", state="banned", size_bytes=0, rate_bps=0),
    ]
    on_its_way = Transfer(
        image="demo/notebook:1",
        manifest=digest_of("notebook"),
        began_at=time.time(),
        size_bytes=4 * 2**20,
        done_bytes=2**20,
        rate_bps=94_000_000,
        sources=sources,
    )
    record = BoxTransfers(box="alpha", at=time.time(), transfers=[on_its_way], more=2)
    context.redis.set(transfers_key("alpha"), record.model_dump_json())
    page = client.get("/layers/transfers").text
    for part in (
        "to alpha",
        "1 MiB of 4 MiB",
        "94 Mbit/s",
        "fetches it too",
        "it is &lt;silent&gt;",
        "sent bad bytes",
    ):
        assert part in page
    assert "alpha runs 2 more" in page


def test_mirrors_are_shown_stopped_and_forgotten_by_operators(
    client: FlaskClient, context: MasterContext
) -> None:
    assert "openraas image mirror nginx:1.27" in client.get("/mirrors").text
    with context.database.write() as session:
        wanted = mirrors.Wanted("nginx:1.27")
        mirror = mirrors.request_mirror(session, context, find_user(session, "ada"), wanted)
    page = client.get("/mirrors").text
    for told in ("docker.io/library/nginx:1.27", "as nginx:1.27 on alpha", "Asking the registry", "fetching"):
        assert told in page
    end = {"csrf_token": csrf_token(page)}
    shown = client.post(f"/mirrors/{mirror.id}/end", data=end, follow_redirects=True).text
    assert "is not fetched any more" in shown
    assert "It was stopped." in shown
    shown = client.post(f"/mirrors/{mirror.id}/end", data=end, follow_redirects=True).text
    assert "is no longer listed" in shown
    assert (
        "There is no mirror" in client.post(f"/mirrors/{mirror.id}/end", data=end, follow_redirects=True).text
    )
    client.post("/sign-out", data=end)
    sign_in(client, "bob", add_person(context, "bob")[1])
    assert client.get("/mirrors").status_code == 403
    assert "/mirrors" not in client.get("/layers").text
