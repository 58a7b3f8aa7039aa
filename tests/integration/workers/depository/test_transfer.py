"""Fetching images from several depositories, over real sockets."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

import pytest

from common.wishes import ImageSource
from common.words import Endpoint
from tests.support.bad_sources import bad_source, hang_up, liar, silent
from tests.support.depository import FakeBox, FakeMaster, Image
from workers.depository.errors import Cancelled, TransferError
from workers.depository.facts import TransferFacts
from workers.depository.partial import Partial

MakeBox = Callable[..., FakeBox]


@pytest.fixture
def image() -> Image:
    return Image(700_000, 1_500_000, 300_000)


def seeds(make_box: MakeBox, image: Image, count: int) -> dict[str, Endpoint]:
    """Boxes that hold the image."""
    endpoints = {}
    for number in range(count):
        box = make_box(f"seed-{number}")
        box.hold(image)
        endpoints[box.name] = box.endpoint
    return endpoints


def assert_whole(box: FakeBox, image: Image, facts: TransferFacts) -> None:
    """The box has every byte of the image, and fetched none twice."""
    assert facts.state == "done"
    assert facts.size_bytes == image.size_bytes == sum(facts.sources.values())
    for digest, data in image.by_digest.items():
        assert box.holdings.store.read(digest, len(data)) == data
    assert box.holdings.digests() == set(image.by_digest)
    assert list((box.paths.store / "ingest").iterdir()) == []


def test_an_image_comes_from_all_depositories_at_once(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    endpoints = seeds(make_box, image, 3)
    reader = make_box("reader")
    facts = reader.client.hold(image.source(master, endpoints))
    assert_whole(reader, image, facts)
    assert set(facts.sources) == set(endpoints)
    assert reader.client.transfer(image.digest) == facts


def test_what_was_fetched_is_served_to_the_next_box(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    first, second = make_box("first", roles=frozenset({"compute"})), make_box("second")
    first.client.hold(image.source(master, seeds(make_box, image, 1)))
    facts = second.client.hold(image.source(master, {"first": first.endpoint}))
    assert_whole(second, image, facts)


@pytest.mark.parametrize("listed", [True, False], ids=["chunk-list", "whole-only"])
def test_a_source_that_lies_is_banned_and_the_image_comes_from_the_others(
    master: FakeMaster, make_box: MakeBox, image: Image, listed: bool
) -> None:
    endpoints = seeds(make_box, image, 1)
    reader = make_box("reader")
    sizes = {digest: len(data) for digest, data in image.by_digest.items()}
    with bad_source(liar(sizes)) as lying:
        only_liar = {"a-liar": lying}
        with pytest.raises(TransferError, match="a-liar: it sent bad bytes"):
            reader.client.hold(image.source(master, only_liar, listed=listed))
        facts = reader.client.hold(image.source(master, {**only_liar, **endpoints}, listed=listed))
    assert_whole(reader, image, facts)


@pytest.mark.parametrize("listed", [True, False], ids=["chunk-list", "whole-only"])
def test_a_frozen_source_is_left_for_the_others(
    master: FakeMaster, make_box: MakeBox, image: Image, listed: bool
) -> None:
    endpoints = seeds(make_box, image, 1)
    reader = make_box("reader", source_timeout_s=0.3)
    with bad_source(silent) as frozen:
        facts = reader.client.hold(image.source(master, {"a-frozen": frozen, **endpoints}, listed=listed))
    assert_whole(reader, image, facts)


def test_a_source_that_is_killed_in_the_middle_is_replaced(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    endpoints = seeds(make_box, image, 2)
    reader = make_box("reader")
    with bad_source(hang_up) as killed:
        facts = reader.client.hold(image.source(master, {"a-killed": killed, **endpoints}, listed=False))
    assert_whole(reader, image, facts)


def test_a_wrong_chunk_list_does_not_keep_the_image_away(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    """What good boxes send never matches it: it is withdrawn, and the whole decides."""
    source = spoil_list(image.source(master, seeds(make_box, image, 2)), "0" * 64)
    reader = make_box("reader")
    facts = reader.client.hold(source)
    assert_whole(reader, image, facts)
    assert facts.banned == []


def test_a_chunk_list_that_vouches_for_bad_bytes_does_not_keep_the_image_away(
    master: FakeMaster, make_box: MakeBox
) -> None:
    """The liar's zeros match it, chunk by chunk; the whole does not."""
    image = Image(65536 * 3)
    sizes = {digest: len(data) for digest, data in image.by_digest.items()}
    reader = make_box("reader")
    for data, media_type in image.parts[:2]:  # the liar is asked for the layer alone
        reader.holdings.add(reader.holdings.store.put(data), media_type, "site")
    zeros = [hashlib.sha256(bytes(len(piece))).hexdigest() for piece in image.chunks(2)]
    with bad_source(liar(sizes)) as lying:
        endpoints = {"a-liar": lying, **seeds(make_box, image, 1)}
        facts = reader.client.hold(spoil_list(image.source(master, endpoints), *zeros))
    assert facts.state == "done"
    assert reader.holdings.digests() == set(image.by_digest)
    assert "a-liar" not in facts.sources


def spoil_list(source: ImageSource, *hashes: str) -> ImageSource:
    """The same with another chunk list for the first layer."""
    blobs = [*source.blobs]
    listed = blobs[2].chunk_list
    assert listed is not None
    chunks = [*hashes] if len(hashes) > 1 else [*hashes] * len(listed.chunks)
    wrong = listed.model_copy(update={"chunks": chunks})
    blobs[2] = blobs[2].model_copy(update={"chunk_list": wrong})
    return source.model_copy(update={"blobs": blobs})


def test_without_a_source_the_error_names_image_and_boxes(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    empty = make_box("box-empty")
    with bad_source(hang_up) as dead:
        source = image.source(master, {"box-dead": dead, "box-empty": empty.endpoint})
        with pytest.raises(TransferError) as caught:
            make_box("reader").client.hold(source)
    message = str(caught.value)
    assert message.startswith("no-source: image site:1")
    assert "box-dead: the connection broke" in message
    assert "box-empty: it does not hold all of it" in message


def test_a_ticket_for_other_blobs_fetches_nothing(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    endpoints = seeds(make_box, image, 1)
    other = Image(1000, seed=2).source(master, endpoints)
    source = image.source(master, endpoints).model_copy(update={"ticket": other.ticket})
    reader = make_box("reader")
    with pytest.raises(TransferError, match="it does not accept the ticket"):
        reader.client.hold(source)
    assert reader.holdings.digests() == set()


def test_two_who_want_one_image_share_the_transfer(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    reader = make_box("reader")
    source = image.source(master, seeds(make_box, image, 2))
    facts: list[TransferFacts] = []

    def hold(user: str) -> None:
        facts.append(reader.client.hold(source, user))

    threads = [threading.Thread(target=hold, args=(user,)) for user in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(facts) == 3  # who came after its end was given nothing
    assert_whole(reader, image, max(facts, key=lambda item: item.size_bytes))


def test_images_with_a_layer_in_common_fetch_it_once(master: FakeMaster, make_box: MakeBox) -> None:
    one, two = Image(900_000, 100_000), Image(900_000, 200_000, repository="other")
    assert one.layers[0] == two.layers[0]
    seed, reader = make_box("seed"), make_box("reader")
    seed.hold(one)
    seed.hold(two)
    for image in (one, two):
        reader.fetcher.hold(image.source(master, {"seed": seed.endpoint}))
    for image in (one, two):
        assert reader.fetcher.wait(image.digest, 20).state == "done"
    together = sum(len(data) for data in {**one.by_digest, **two.by_digest}.values())
    assert reader.holdings.size_bytes() == together


def test_a_transfer_that_nobody_wants_ends(master: FakeMaster, make_box: MakeBox, image: Image) -> None:
    with bad_source(silent) as frozen:
        reader = make_box("reader", source_timeout_s=60)
        with pytest.raises(Cancelled):
            reader.client.hold(image.source(master, {"frozen": frozen}), unwanted=lambda: True)


def test_a_transfer_goes_on_while_one_of_its_users_wants_it(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    with bad_source(silent) as frozen:
        reader = make_box("reader", source_timeout_s=60)
        source = image.source(master, {"frozen": frozen})
        reader.fetcher.hold(source, "one")
        reader.fetcher.hold(source, "two")
        reader.client.cancel(image.digest, "one")
        assert reader.client.transfer(image.digest).state == "running"
        reader.client.cancel(image.digest, "two")
        assert reader.client.transfer(image.digest).state == "cancelled"


def test_what_arrived_before_a_crash_is_not_fetched_again(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    reader = make_box("reader")
    source = image.source(master, seeds(make_box, image, 1))
    blob, size = source.blobs[3], 65536
    partial = Partial(reader.holdings.store, blob.digest, blob.size_bytes, size)
    partial.write(1, memoryview(image.layers[1][size : 2 * size]))
    partial.write(3, memoryview(bytes(size)))  # spoilt, as by a crash of the machine
    del partial
    facts = reader.client.hold(source)
    assert facts.state == "done"
    assert facts.size_bytes == image.size_bytes - size
    assert reader.holdings.digests() == set(image.by_digest)


def test_an_unlisted_blob_that_a_crash_spoilt_is_fetched_anew(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    reader = make_box("reader")
    source = image.source(master, seeds(make_box, image, 1), listed=False)
    blob = source.blobs[3]
    partial = Partial(reader.holdings.store, blob.digest, blob.size_bytes, 2 * 2**20)
    partial.write(0, memoryview(bytes(blob.size_bytes)))
    del partial
    assert_whole(reader, image, reader.client.hold(source))
