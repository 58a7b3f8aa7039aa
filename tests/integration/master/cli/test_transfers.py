"""Transfers while they run: what a real box's front tells, as the verb, REST and the page show it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from common.names import BOXES, transfers_key
from common.transfers import TRANSFERS_TTL_S
from common.words import Endpoint
from tests.support.bad_sources import bad_source, liar
from tests.support.cli import World
from tests.support.depository import FakeBox, Image, boxes, run_master
from tests.support.redis import wait_until
from tests.support.web import bearer
from workers.depository.telling import Teller

IMAGE = Image(3_000_000, 2_000_000)
SLOW_BPS = 1_500_000


@pytest.fixture
def reader(world: World, tmp_path: Path) -> Iterator[FakeBox]:
    """A box that fetches IMAGE from a slow depository, one that lies and one that is not there."""
    with (
        run_master() as master,
        boxes(tmp_path / "layers", master) as make,
        bad_source(liar({digest: len(data) for digest, data in IMAGE.by_digest.items()})) as lying,
    ):
        seed, reader = make("seed", layers_out_bps=SLOW_BPS), make("reader")
        seed.hold(IMAGE)
        world.context.redis.sadd(BOXES, "reader")
        gone = Endpoint(host="127.0.0.1", port=1)
        reader.client.plan(IMAGE.source(master, {}), "before")
        source = IMAGE.source(master, {"seed": seed.endpoint, "liar": lying, "gone": gone})
        reader.fetcher.hold(source, "test")
        yield reader
        reader.fetcher.cancel(IMAGE.digest, "before")
        reader.fetcher.cancel(IMAGE.digest, "test")


def make_teller(world: World, reader: FakeBox) -> Teller:
    context: Any = SimpleNamespace(config=reader.config, paths=reader.paths, redis=world.context.redis)
    return Teller(context, every_s=0.05, idle_s=0.1)


def test_a_running_transfer_shows_its_bytes_and_what_every_source_gives(
    world: World, reader: FakeBox
) -> None:
    teller = make_teller(world, reader)

    def told() -> dict[str, Any]:
        teller.tell()
        found = json.loads(world.operator.ok("layer", "transfers", "--json"))
        return {item["box"]: item for item in found[0]["sources"]} if found else {}

    def shows_all() -> bool:
        now = told()
        return bool(now) and now["seed"]["rate_bps"] > 0 and now["liar"]["state"] == "banned"

    wait_until(shows_all, 30, "a rate and a ban")
    sources = told()
    assert sources["gone"]["state"] == "left"
    assert "refused" in sources["gone"]["detail"]
    (found,) = json.loads(world.operator.ok("layer", "transfers", "--json"))
    assert (found["box"], found["image"], found["size_bytes"]) == ("reader", "site:1", IMAGE.size_bytes)
    assert 0 < found["done_bytes"] < IMAGE.size_bytes
    text = world.operator.ok("layer", "transfers", "--box", "reader")
    assert "liar (banned: sent bad bytes)" in text
    assert "bit/s, gave" in text
    assert "Nothing is on its way" in world.operator.ok("layer", "transfers", "--box", "other")
    assert 0 < int(world.context.redis.ttl(transfers_key("reader"))) <= TRANSFERS_TTL_S


def test_what_ended_is_shown_no_more(world: World, reader: FakeBox) -> None:
    teller = make_teller(world, reader)
    assert teller.tell()
    reader.fetcher.cancel(IMAGE.digest, "before")
    reader.fetcher.cancel(IMAGE.digest, "test")
    wait_until(lambda: not teller.tell(), what="the end")
    assert "Nothing is on its way" in world.operator.ok("layer", "transfers")


def test_a_box_tells_nothing_of_another_and_nothing_that_steers_a_terminal(
    world: World, reader: FakeBox
) -> None:
    make_teller(world, reader).tell()
    record = json.loads(str(world.context.redis.get(transfers_key("reader"))))
    for lie in (
        {**record, "box": "attic"},
        {**record, "transfers": [{**record["transfers"][0], "image": "site\x1b[2J"}]},
        {"box": "reader"},
    ):
        world.context.redis.set(transfers_key("reader"), json.dumps(lie))
        answer = httpx.get(f"{world.url}/api/v1/layers/transfers", headers=bearer(world.operator.token))
        assert answer.json() == {"transfers": [], "more": 0}
