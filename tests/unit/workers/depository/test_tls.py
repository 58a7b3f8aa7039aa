"""TLS over large reads behaves as a socket does to `http.client`."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.certificates import CertificateAuthority
from workers.depository.tls import TlsStream

LOCAL = "127.0.0.1"
LIMIT_S = 10.0
Serve = Callable[[ssl.SSLSocket], None]


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority("test")


@pytest.fixture
def contexts(authority: CertificateAuthority, tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    certificate, key = authority.sign(LOCAL)
    (tmp_path / "certificate").write_bytes(certificate)
    (tmp_path / "key").write_bytes(key)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    return server, ssl.create_default_context(cadata=authority.certificate.decode())


@contextmanager
def connected(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], serve: Serve, timeout_s: float = LIMIT_S
) -> Iterator[TlsStream]:
    """A stream to a server that does `serve` with its one connection."""

    def run() -> None:
        with suppress(OSError), listener.accept()[0] as plain:
            plain.settimeout(LIMIT_S)
            with contexts[0].wrap_socket(plain, server_side=True) as connection:
                serve(connection)

    with socket.create_server((LOCAL, 0)) as listener:
        thread = threading.Thread(target=run)
        thread.start()
        try:
            raw = socket.create_connection(listener.getsockname()[:2], timeout_s)
            stream = TlsStream(raw, contexts[1], LOCAL)
            try:
                yield stream
            finally:
                stream.close()
        finally:
            thread.join(LIMIT_S)


def read_all(stream: TlsStream, size_bytes: int) -> bytes:
    """Exactly so many bytes."""
    into = memoryview(bytearray(size_bytes))
    filled = 0
    while filled < size_bytes and (count := stream.recv_into(into[filled:])):
        filled += count
    return bytes(into[:filled])


def test_bytes_come_as_they_were_sent_in_both_directions(contexts) -> None:
    sent = os.urandom(3 * 2**20 + 17)

    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(sent)
        connection.sendall(connection.recv(100))

    with connected(contexts, serve) as stream:
        assert read_all(stream, len(sent)) == sent
        stream.sendall(b"and back")
        assert read_all(stream, 8) == b"and back"
        assert stream.recv_into(memoryview(bytearray(1))) == 0


def test_an_answer_can_be_read_after_its_connection_was_closed(contexts) -> None:
    body = os.urandom(100_000)

    def serve(connection: ssl.SSLSocket) -> None:
        connection.recv(65536)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + body)

    with connected(contexts, serve) as stream:
        client = http.client.HTTPConnection(LOCAL)
        client.sock = stream  # type: ignore[assignment]
        client.request("GET", "/")
        answer = client.getresponse()
        assert client.sock is None, "http.client has let go of the connection"
        assert answer.read() == body


def test_a_connection_that_breaks_off_ends_like_one_that_is_closed(contexts) -> None:
    def serve(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"only this")
        connection.shutdown(socket.SHUT_RDWR)  # no closing alert

    with connected(contexts, serve) as stream:
        assert read_all(stream, 100) == b"only this"


def test_a_silent_server_is_not_waited_for(contexts) -> None:
    done = threading.Event()
    with connected(contexts, lambda _: done.wait(LIMIT_S), timeout_s=0.2) as stream:  # type: ignore[arg-type, return-value]
        with pytest.raises(TimeoutError):
            stream.recv_into(memoryview(bytearray(1)))
        done.set()


def test_another_thread_ends_a_read(contexts) -> None:
    done = threading.Event()
    with connected(contexts, lambda _: done.wait(LIMIT_S)) as stream:  # type: ignore[arg-type, return-value]
        timer = threading.Timer(0.1, stream.shutdown, [socket.SHUT_RDWR])
        timer.start()
        assert stream.recv_into(memoryview(bytearray(1))) == 0
        done.set()


def test_a_certificate_of_another_authority_is_refused(contexts) -> None:
    stranger = ssl.create_default_context(cadata=CertificateAuthority("other").certificate.decode())
    with pytest.raises(ssl.SSLCertVerificationError), connected((contexts[0], stranger), lambda _: None):
        pass
