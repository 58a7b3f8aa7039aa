"""The engine's endpoint gives bytes as they arrive, only of planned images, and only verified ones."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable

import pytest

from common.oci.digest import digest_of
from tests.support.bad_sources import bad_source, hang_up, silent
from tests.support.depository import MANIFEST_TYPE, FakeBox, FakeMaster, Image

MakeBox = Callable[..., FakeBox]


def get(
    box: FakeBox, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", box.loopback_port, timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@pytest.fixture
def image() -> Image:
    return Image(400_000, 900_000)


@pytest.fixture
def reader(make_box: MakeBox, master: FakeMaster, image: Image) -> FakeBox:
    """A compute box for which the image was planned, from one depository."""
    seed, box = make_box("seed"), make_box("reader", roles=frozenset({"compute"}))
    seed.hold(image)
    box.client.plan(image.source(master, {"seed": seed.endpoint}))
    return box


def test_a_planned_image_is_pulled_blob_by_blob(reader: FakeBox, image: Image) -> None:
    answer, body = get(reader, f"/v2/site/manifests/{image.digest}")
    assert (answer.status, body) == (200, image.manifest)
    assert answer.headers["Content-Type"] == MANIFEST_TYPE
    for digest, data in image.by_digest.items():
        assert get(reader, f"/v2/site/blobs/{digest}")[1] == data
    facts = reader.client.transfer(image.digest, wait_s=10)
    assert (facts.state, facts.size_bytes) == ("done", image.size_bytes)


def test_before_the_engine_asks_only_manifest_and_config_come_and_layers_before_the_first_asked_never(
    reader: FakeBox, image: Image
) -> None:
    answer, _ = get(reader, f"/v2/site/manifests/{image.digest}", "HEAD")
    assert answer.headers["Docker-Content-Digest"] == image.digest
    reader.client.transfer(image.digest, wait_s=10)
    head = {image.digest, digest_of(image.config)}
    assert reader.holdings.digests() == head
    last = digest_of(image.layers[1])
    assert get(reader, f"/v2/site/blobs/{last}")[1] == image.layers[1]
    reader.client.transfer(image.digest, wait_s=10)
    assert reader.holdings.digests() == {*head, last}


def test_an_engine_that_goes_on_in_the_middle_gets_the_rest(reader: FakeBox, image: Image) -> None:
    digest = digest_of(image.layers[0])
    answer, body = get(reader, f"/v2/site/blobs/{digest}", Range="bytes=100000-")
    assert answer.status == 206
    assert body == image.layers[0][100_000:]


def test_what_is_not_planned_is_not_served(reader: FakeBox, image: Image) -> None:
    reader.hold(Image(1000, seed=5))
    for path in (
        f"/v2/site/manifests/{Image(1000, seed=5).digest}",
        f"/v2/other/manifests/{image.digest}",
        "/v2/site/manifests/latest",
        "/v2/site/tags/list",
        "/v2/site/blobs/sha256:..%2f..%2fbox.db",
    ):
        assert get(reader, path)[0].status in (400, 404)
    assert get(reader, "/v2/site/blobs/uploads/", "POST")[0].status == 405


def test_the_first_bytes_of_a_layer_are_there_before_its_last(
    make_box: MakeBox, master: FakeMaster, image: Image
) -> None:
    """The second source freezes with a later chunk in hand: what came before it is read meanwhile."""
    release = threading.Event()
    layer = image.layers[1]
    blobs = image.by_digest

    def give_one_chunk(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := stream.readline():
                span = ""
                while (line := stream.readline().strip()) != b"":
                    span = line.decode().partition("bytes=")[2] or span
                first, last = map(int, span.split("-"))
                if first > 0:
                    release.wait(20)
                data = blobs[request.split()[1].decode().rpartition("/")[2]]
                head = f"HTTP/1.1 206 Partial Content\r\nContent-Length: {last - first + 1}\r\n"
                head += f"Content-Range: bytes {first}-{last}/{len(data)}\r\n\r\n"
                connection.sendall(head.encode() + data[first : last + 1])

    reader = make_box("reader", source_timeout_s=30)
    with bad_source(give_one_chunk) as slow:
        reader.client.plan(image.source(master, {"slow": slow}))
        connection = http.client.HTTPConnection("127.0.0.1", reader.loopback_port, timeout=20)
        connection.request("GET", f"/v2/site/blobs/{digest_of(layer)}")
        answer = connection.getresponse()
        assert answer.read(65536) == layer[:65536]
        assert not reader.holdings.find(digest_of(layer))
        release.set()
        assert answer.read() == layer[65536:]
        connection.close()


def test_bytes_that_are_being_sent_stay_readable_when_the_layer_is_complete(
    make_box: MakeBox, master: FakeMaster, image: Image
) -> None:
    seed, box = make_box("seed", layers_out_bps=8_000_000), make_box("reader")
    seed.hold(image)
    layer = image.layers[1]
    box.client.plan(image.source(master, {"seed": seed.endpoint}))
    pull, blob = box.fetcher.planned("site", digest_of(layer))
    spans = box.fetcher.spans(pull, blob, 0, len(layer))
    first = next(spans)
    assert 0 < first.length < len(layer)
    assert box.fetcher.wait(image.digest, 20).state == "done"
    rest = list(spans)
    assert first.file.read(first.length) == layer[: first.length]
    assert first.length + sum(span.length for span in rest) == len(layer)


def test_without_a_source_the_engine_is_told_so_and_does_not_try_again(
    make_box: MakeBox, master: FakeMaster, image: Image
) -> None:
    reader = make_box("reader")
    with bad_source(hang_up) as dead:
        reader.client.plan(image.source(master, {"box-dead": dead}))
        answer, body = get(reader, f"/v2/site/manifests/{image.digest}")
    assert answer.status == 403
    assert b"DENIED" in body
    assert b"no-source: image site:1" in body
    assert b"box-dead" in body
    facts = reader.client.transfer(image.digest)
    assert facts.state == "failed"
    assert "box-dead" in facts.error


def test_a_pull_that_is_cancelled_ends_at_once(make_box: MakeBox, master: FakeMaster, image: Image) -> None:
    reader = make_box("reader", source_timeout_s=60)
    with bad_source(silent) as frozen:
        reader.client.plan(image.source(master, {"frozen": frozen}))
        answers: list[int] = []
        path = f"/v2/site/manifests/{image.digest}"
        engine = threading.Thread(target=lambda: answers.append(get(reader, path)[0].status))
        engine.start()
        while reader.client.transfer(image.digest).took_s == 0.0:
            pass
        reader.client.cancel(image.digest)
        engine.join(10)
    assert answers == [403]


def test_a_plan_survives_a_restart_of_the_front_process(
    reader: FakeBox, master: FakeMaster, image: Image
) -> None:
    assert reader.client.transfer(image.digest, wait_s=10).state == "done"
    reader.holdings.drop(reader.holdings.digests())
    reader.stop()
    again = FakeBox(reader.name, reader.config.state_dir, master)
    try:
        assert get(again, f"/v2/site/manifests/{image.digest}")[1] == image.manifest
    finally:
        again.stop()


def test_an_engine_that_tries_tls_first_is_told_to_speak_http(reader: FakeBox) -> None:
    with socket.create_connection(("127.0.0.1", reader.loopback_port), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01\x00\x05hello")
        assert connection.recv(100).startswith(b"HTTP/1.0 400")
