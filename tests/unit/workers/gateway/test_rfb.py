"""The remote framebuffer protocol, both sides of the handshake, against a server that the test writes itself."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading

import pytest

from tests.support.fake_screen import PASSWORD, let_in, raw, server, show, update_of
from workers.gateway.desktop import rfb


def enter(connection: socket.socket) -> None:
    let_in(connection)


def test_the_right_password_opens_and_the_wrong_one_says_so() -> None:
    with server(enter) as address:
        rfb.connect(address, PASSWORD).close()
    with (
        server(enter) as address,
        pytest.raises(rfb.ScreenError, match="wrong password"),
    ):
        rfb.connect(address, "other")


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"HTTP/1.0 200", "does not speak RFB"),
        (rfb.VERSION + b"\x01\x01", "does not ask for the password"),
        (rfb.VERSION + b"\x00\x00\x00\x00\x04busy", "lets nobody in: busy"),
        (rfb.VERSION, "closed the connection"),
    ],
)
def test_what_is_no_screen_of_ours_is_told_as_such(first: bytes, words: str) -> None:
    def play(connection: socket.socket) -> None:
        connection.sendall(first)
        connection.recv(12)

    with server(play) as address, pytest.raises(rfb.ScreenError, match=words):
        rfb.connect(address, PASSWORD)


def test_nobody_at_the_port_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
    with pytest.raises(rfb.ScreenError, match="does not answer"):
        rfb.connect(address, PASSWORD)


def test_a_picture_is_put_together_from_its_parts() -> None:
    update = update_of(raw(0, 0, 4, 1, b"aaaa"), raw(0, 1, 4, 1, b"bbbb"))
    bell_and_clipboard = b"\x02" + b"\x03\0\0\0" + struct.pack(">I", 2) + b"hi"
    with server(lambda connection: show(connection, bell_and_clipboard + update)) as address:
        found = rfb.take_picture(rfb.connect(address, PASSWORD))
    assert (found.width, found.height) == (4, 2)
    assert found.pixels == b"aaaa" * 4 + b"bbbb" * 4


def test_a_screen_that_changes_its_size_meanwhile_is_asked_again() -> None:
    resized = update_of(struct.pack(">HHHHi", 0, 0, 1, 1, -223))
    update = update_of(raw(0, 0, 1, 1, b"cccc"))
    with server(lambda connection: show(connection, resized, update)) as address:
        found = rfb.take_picture(rfb.connect(address, PASSWORD))
    assert found == rfb.Picture(1, 1, b"cccc")


@pytest.mark.parametrize(
    ("updates", "words"),
    [
        ([update_of(struct.pack(">HHHHi", 0, 0, 60000, 60000, 0))], "more than it shows"),
        (
            [update_of(struct.pack(">HHHHi", 0, 0, 60000, 60000, -223)), update_of()],
            "60000 by 60000 is too large",
        ),
        ([b"\x03\0\0\0" + struct.pack(">I", 2**32 - 1)], "a text of 4294967295 bytes"),
    ],
)
def test_a_container_that_says_huge_sizes_takes_no_memory_of_the_box(
    updates: list[bytes], words: str
) -> None:
    with (
        server(lambda connection: show(connection, *updates)) as address,
        pytest.raises(rfb.ScreenError, match=words),
    ):
        rfb.take_picture(rfb.connect(address, PASSWORD))


def test_a_container_that_sends_drop_by_drop_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rfb, "CONNECT_S", 0.3)
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for letter in itertools.cycle(rfb.VERSION):
                if stop.wait(0.1):
                    return
                connection.sendall(bytes((letter,)))

    with server(drip) as address:
        with pytest.raises(rfb.ScreenError, match=r"too slow|timed out"):
            rfb.connect(address, PASSWORD)
        stop.set()


def test_a_browser_is_let_in_without_a_password() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        theirs.sendall(rfb.VERSION + b"\x01")
        rfb.welcome(rfb.reader(ours), ours.sendall)
        assert rfb.reader(theirs)(18) == rfb.VERSION + b"\x01\x01" + rfb.OK
        theirs.sendall(b"RFB 004.000\n")
        with pytest.raises(rfb.ScreenError):
            rfb.welcome(rfb.reader(ours), ours.sendall)
