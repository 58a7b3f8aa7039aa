"""Fetching images from several depositories, over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from common.words import Endpoint
from tests.support.depository import FakeBox, FakeMaster, Image
from workers.depository.errors import Cancelled, TransferError
from workers.depository.fetcher import Fetcher

MakeBox = Callable[..., FakeBox]
SIZES = (700_000, 1_500_000, 300_000)


def seeds(make_box: MakeBox, image: Image, count: int) -> dict[str, Endpoint]:
    """Boxes that hold the image."""
    endpoints = {}
    for number in range(count):
        box = make_box(f"seed-{number}")
        box.hold(image)
        endpoints[box.name] = box.endpoint
    return endpoints


def assert_holds(box: FakeBox, image: Image) -> None:
    for data, _ in image.parts:
        digest = Image.__dict__ and next(
            item for item in box.holdings.digests() if box.holdings.store.path(item).read_bytes() == data
        )
        assert digest


@contextmanager
def bad_source(respond: Callable[[socket.socket, int], None]) -> Iterator[Endpoint]:
    """A server that answers each connection as `respond` says (with the number of the connection)."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            opened.append(connection)
            threading.Thread(target=respond, args=(connection, len(opened)), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield Endpoint(host="127.0.0.1", port=listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in opened:
            connection.close()


def lie(connection: socket.socket, _: int) -> None:
    """Answers every range with zeros."""
    stream = connection.makefile("rb")
    try:
        while request := stream.readline():
            length, total, headers = 0, 0, {}
            while (line := stream.readline()) not in (b"\r\n", b""):
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            assert request
            first, last = map(int, headers["range"].removeprefix("bytes=").split("-"))
            length = last - first + 1
            digest = request.split()[1].decode().rpartition("/")[2]
            total = SIZES_BY_DIGEST[digest]
            head = f"HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\n"
            head += f"Content-Range: bytes {first}-{last}/{total}\r\n\r\n"
            connection.sendall(head.encode() + bytes(length))
    except OSError:
        return


SIZES_BY_DIGEST: dict[str, int] = {}


@pytest.fixture
def image() -> Image:
    made = Image(*SIZES)
    import hashlib

    for data, _ in made.parts:
        SIZES_BY_DIGEST[f"sha256:{hashlib.sha256(data).hexdigest()}"] = len(data)
    return made


def test_an_image_comes_from_all_depositories_at_once(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    endpoints = seeds(make_box, image, 3)
    reader = make_box("reader")
    facts = reader.client.hold(image.source(master, endpoints))
    assert facts.state == "done"
    assert facts.size_bytes == image.size_bytes
    assert set(facts.sources) == set(endpoints)
    assert reader.holdings.missing(blob.digest for blob in image.source(master, endpoints).blobs) == []


@pytest.mark.parametrize("listed", [True, False])
def test_a_source_that_lies_is_banned_and_the_image_comes_from_the_others(
    master: FakeMaster, make_box: MakeBox, image: Image, listed: bool
) -> None:
    endpoints = seeds(make_box, image, 1)
    with bad_source(lie) as liar:
        source = image.source(master, {"a-liar": liar, **endpoints}, listed=listed)
        reader = make_box("reader")
        facts = reader.client.hold(source)
    assert facts.state == "done"
    assert facts.size_bytes == image.size_bytes
    assert "a-liar" not in facts.sources
    assert reader.holdings.missing(blob.digest for blob in source.blobs) == []


@pytest.mark.parametrize("listed", [True, False])
def test_a_frozen_source_is_left_for_the_others(
    master: FakeMaster, make_box: MakeBox, image: Image, listed: bool
) -> None:
    endpoints = seeds(make_box, image, 1)
    with bad_source(lambda *_: None) as frozen:
        source = image.source(master, {"a-frozen": frozen, **endpoints}, listed=listed)
        facts = make_box("reader", source_timeout_s=0.3).client.hold(source)
    assert facts.state == "done"
    assert facts.size_bytes == image.size_bytes
    assert set(facts.sources) == set(endpoints)


def test_without_a_source_the_error_names_image_and_boxes(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    with bad_source(lambda connection, _: connection.close()) as dead, bad_source(lie) as liar:
        source = image.source(master, {"box-dead": dead, "box-liar": liar})
        with pytest.raises(TransferError) as caught:
            make_box("reader").client.hold(source)
    message = str(caught.value)
    assert message.startswith("no-source: image site:1")
    assert "box-dead" in message
    assert "box-liar: it sent bad bytes" in message


def test_two_holds_of_one_image_share_the_transfer(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    endpoints = seeds(make_box, image, 2)
    reader = make_box("reader")
    other = Image(*SIZES, 200_000)
    for name, endpoint in endpoints.items():
        assert endpoint
    facts = []
    source = image.source(master, endpoints)
    threads = [
        threading.Thread(target=lambda: facts.append(reader.client.hold(source, user)))
        for user in ("one", "two", "three")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert other
    assert [item.size_bytes for item in facts] == [image.size_bytes] * 3


def test_a_transfer_that_nobody_wants_ends(master: FakeMaster, make_box: MakeBox, image: Image) -> None:
    with bad_source(lambda *_: None) as frozen:
        reader = make_box("reader", source_timeout_s=60)
        with pytest.raises(Cancelled):
            reader.client.hold(image.source(master, {"frozen": frozen}), unwanted=lambda: True)


def test_what_arrived_before_a_crash_is_not_fetched_again(
    master: FakeMaster, make_box: MakeBox, image: Image
) -> None:
    endpoints = seeds(make_box, image, 1)
    reader = make_box("reader")
    source = image.source(master, endpoints)
    blob = source.blobs[3]
    assert blob.chunk_list is not None
    from workers.depository.partial import Partial

    partial = Partial(reader.holdings.store, blob.digest, blob.size_bytes, blob.chunk_list.chunk_bytes)
    kept = blob.chunk_list.chunk_bytes
    partial.write(1, memoryview(image.layers[1][kept : 2 * kept]))
    partial.write(3, memoryview(bytes(kept)))  # bytes that a crash of the machine spoilt
    del partial
    facts = Fetcher(reader.config, reader.paths, reader.table, reader.holdings)
    facts.hold(source)
    ended = facts.wait(source.manifest, 20)
    assert ended.state == "done"
    assert ended.size_bytes == image.size_bytes - kept
