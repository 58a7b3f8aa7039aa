"""The depository as others see it: behind the box's nginx, which sends the bytes; and over TLS."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.oci.digest import digest_of
from common.words import Endpoint
from tests.support.certificates import CertificateAuthority
from tests.support.depository import PASSWORD, USER, FakeBox, FakeMaster, Image
from tests.support.redis import free_port, wait_until
from workers.box.front import make_server
from workers.depository.errors import TransferError
from workers.depository.registry import Registry
from workers.gateway.nginx import server_command

MakeBox = Callable[..., FakeBox]


@contextmanager
def nginx(box: FakeBox) -> Iterator[Endpoint]:
    """The box's own nginx in front of its registry."""
    if shutil.which("nginx", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("nginx is not installed")
    route = Registry(box.config, box.paths, box.table, box.verifier)
    front = make_server(box.paths.front_socket, [route])
    threading.Thread(target=front.serve_forever, args=(0.02,), daemon=True).start()
    process = subprocess.Popen(
        server_command(box.config, box.paths), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    endpoint = Endpoint(host="127.0.0.1", port=box.config.front_port)

    def answers() -> bool:
        connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=5)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status == 401
        except OSError:
            return False
        finally:
            connection.close()

    try:
        wait_until(answers, what="nginx's answer")
        yield endpoint
    finally:
        process.terminate()
        process.wait(10)
        front.shutdown()
        front.server_close()


def test_ranges_come_from_nginx_and_the_store_cannot_be_asked_directly(
    make_box: MakeBox, master: FakeMaster
) -> None:
    box, image = make_box("dep-1", front_port=free_port()), Image(3_000_000)
    box.hold(image)
    layer = image.layers[0]
    with nginx(box) as endpoint:
        connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=10)
        headers = {"Authorization": f"Bearer {master.token('site')}"}
        path = f"/v2/site/blobs/{digest_of(layer)}"
        connection.request("GET", path, headers={**headers, "Range": "bytes=1000-1999"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (206, layer[1000:2000])
        connection.request("HEAD", path, headers=headers)
        answer = connection.getresponse()
        assert (answer.read(), answer.headers["Content-Length"]) == (b"", str(len(layer)))
        stored = f"/_store/sha256/{digest_of(layer).removeprefix('sha256:')}"
        for name in (stored, "/_store/../box.db", f"/v2/..{stored}"):
            connection.request("GET", name, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (400, 404)
        connection.close()


@pytest.mark.parametrize("body", [b"x", b"x" * 5_000_000], ids=["small", "large"])
def test_a_refusal_before_the_end_of_a_push_reaches_the_client(
    make_box: MakeBox, master: FakeMaster, body: bytes
) -> None:
    box = make_box("dep-1", front_port=free_port())
    with nginx(box) as endpoint:
        for _ in range(5):  # a reset connection loses the answer only sometimes
            connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=10)
            headers = {"Authorization": "Bearer of.nothing"}
            connection.request("PATCH", f"/v2/site/blobs/uploads/{'0' * 32}", body=body, headers=headers)
            assert connection.getresponse().status == 401
            connection.close()


def test_an_image_is_pushed_and_fetched_through_nginx(
    make_box: MakeBox, master: FakeMaster, tmp_path: Path
) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    box, reader, layout = make_box("dep-1", front_port=free_port()), make_box("reader"), make_box("layout")
    image = Image(5_000_000, 2_000_000)
    layout.hold(image)
    with nginx(box) as endpoint:
        target = f"docker://127.0.0.1:{endpoint.port}/site:1"
        subprocess.run(
            ["skopeo", "copy", "--dest-tls-verify=false", "--dest-creds", f"{USER}:{PASSWORD}",
             f"oci:{layout.paths.store}", target],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        facts = reader.client.hold(image.source(master, {"dep-1": endpoint}))
    assert facts.size_bytes == image.size_bytes
    assert reader.holdings.digests() == set(image.by_digest)


def test_a_source_with_tls_must_show_its_own_certificate_of_this_authority(
    make_box: MakeBox, master: FakeMaster, tmp_path: Path
) -> None:
    image = Image(200_000)
    seed, reader, stranger = make_box("seed"), make_box("reader"), make_box("stranger")
    seed.hold(image)
    authority, other = CertificateAuthority("one"), CertificateAuthority("two")
    for box, trusted in ((reader, authority), (stranger, other)):
        box.paths.authority.parent.mkdir(parents=True)
        box.paths.authority.write_bytes(trusted.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for file, content in zip(("certificate", "key"), authority.sign("127.0.0.1", "seed"), strict=True):
        (tmp_path / file).write_bytes(content)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    with tls_before(context, seed.endpoint.port) as port:
        there = Endpoint(host="127.0.0.1", port=port, tls=True)
        with pytest.raises(TransferError, match="not valid for 'impostor'"):
            reader.client.hold(image.source(master, {"impostor": there}))
        source = image.source(master, {"seed": there})
        with pytest.raises(TransferError, match="certificate"):
            stranger.client.hold(source)
        assert reader.client.hold(source).state == "done"


@contextmanager
def tls_before(context: ssl.SSLContext, port: int) -> Iterator[int]:
    """TLS in front of a plain port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
                secure = context.wrap_socket(raw, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            plain = socket.create_connection(("127.0.0.1", port))
            for pair in ((secure, plain), (plain, secure)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(2)
        listener.close()
