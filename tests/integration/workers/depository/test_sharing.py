"""Boxes that fetch the same image at the same time give each other what they have, and nothing unverified."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator

import pytest

from common.oci.digest import digest_of
from common.words import Endpoint
from tests.support.bad_sources import bad_source, hang_up, silent
from tests.support.depository import FakeBox, FakeMaster, Image
from workers.depository.asking import PEER_PATH
from workers.depository.facts import TransferFacts
from workers.depository.partial import Partial

MakeBox = Callable[..., FakeBox]
CHUNK = 65536


@pytest.fixture
def image() -> Image:
    return Image(1_500_000, 900_000)


@pytest.fixture
def half(make_box: MakeBox, master: FakeMaster, image: Image) -> Iterator[FakeBox]:
    """A box that has the even chunks of the first layer from an earlier run, and waits for the others."""
    box = make_box("half", source_timeout_s=60)
    layer = image.layers[0]
    partial = Partial(box.holdings.store, digest_of(layer), len(layer), CHUNK)
    for number, piece in enumerate(image.chunks(2)):
        if number % 2 == 0:
            partial.write(number, memoryview(piece))
    del partial
    with bad_source(silent) as source:
        box.fetcher.hold(image.source(master, {"silent": source}))
        yield box
        box.fetcher.cancel(image.digest)


def together(boxes: list[FakeBox], image: Image, master: FakeMaster, seed: Endpoint) -> list[TransferFacts]:
    """All hold the image at once, each told of the others."""
    found: dict[str, TransferFacts] = {}

    def hold(box: FakeBox) -> None:
        peers = {other.name: other.endpoint for other in boxes if other is not box}
        found[box.name] = box.client.hold(image.source(master, {"seed": seed}, fetching=peers))

    threads = [threading.Thread(target=hold, args=(box,)) for box in boxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [found[box.name] for box in boxes]


def test_boxes_that_start_together_share_what_the_seed_sends(
    make_box: MakeBox, master: FakeMaster, image: Image
) -> None:
    seed = make_box("seed", layers_out_bps=8_000_000)
    seed.hold(image)
    readers = [make_box(f"reader-{number}") for number in range(4)]
    facts = together(readers, image, master, seed.endpoint)
    for reader, its in zip(readers, facts, strict=True):
        assert its.state == "done"
        assert reader.holdings.digests() == set(image.by_digest)
        assert its.size_bytes == image.size_bytes
    assert sum(its.sources["seed"] for its in facts) < 2.5 * image.size_bytes


def test_a_peer_that_has_nothing_does_not_keep_the_image_away(
    make_box: MakeBox, master: FakeMaster, image: Image
) -> None:
    seed, idle, reader = make_box("seed"), make_box("idle"), make_box("reader")
    seed.hold(image)
    with bad_source(hang_up) as gone:
        peers = {"idle": idle.endpoint, "gone": gone}
        facts = reader.client.hold(image.source(master, {"seed": seed.endpoint}, fetching=peers))
    assert (facts.state, facts.sources) == ("done", {"seed": image.size_bytes})


def ask(box: FakeBox, path: str, token: str, span: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", box.endpoint.port, timeout=10)
    headers = {"Authorization": f"Bearer {token}"} | ({"Range": f"bytes={span}"} if span else {})
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_verified_chunks_of_a_layer_that_is_not_whole_are_given_and_no_others(
    half: FakeBox, master: FakeMaster, image: Image
) -> None:
    layer = image.layers[0]
    digest = digest_of(layer)
    token = master.layer_ticket(image.by_digest)
    path = f"{PEER_PATH}/{digest}"
    assert ask(half, path, token, f"0-{CHUNK - 1}") == (206, layer[:CHUNK])
    assert ask(half, path, token, f"{CHUNK}-{2 * CHUNK - 1}")[0] == 404
    assert ask(half, path, token, f"0-{2 * CHUNK - 1}")[0] == 404
    assert ask(half, path, token)[0] == 404  # the whole is not there
    status, body = ask(half, PEER_PATH, token)
    assert status == 200
    there = int.from_bytes(bytes.fromhex(json.loads(body)["chunks"][digest]), "little")
    assert [chunk for chunk in range(40) if there >> chunk & 1] == list(range(0, len(image.chunks(2)), 2))


def test_nobody_reads_what_is_arriving_without_a_ticket_for_it(
    half: FakeBox, master: FakeMaster, image: Image
) -> None:
    digest = digest_of(image.layers[0])
    other = master.layer_ticket([digest_of(b"other")])
    for token in ("", "forged", master.token("site")):
        assert ask(half, PEER_PATH, token)[0] == 401
        assert ask(half, f"{PEER_PATH}/{digest}", token, "0-9")[0] == 401
    assert ask(half, f"{PEER_PATH}/{digest}", other, "0-9")[0] == 404
    assert json.loads(ask(half, PEER_PATH, other)[1]) == {"chunks": {}}


def test_what_peers_have_by_now_is_fetched_from_them_too(
    half: FakeBox, make_box: MakeBox, master: FakeMaster, image: Image
) -> None:
    reader, seed = make_box("reader"), make_box("seed", layers_out_bps=4_000_000)
    seed.hold(image)
    facts = reader.client.hold(
        image.source(master, {"seed": seed.endpoint}, fetching={"half": half.endpoint})
    )
    assert facts.state == "done"
    assert facts.sources.get("half", 0) > 0
