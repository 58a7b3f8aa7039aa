"""Screens through the gateway: real nginx and WebSockets, and a screen that the test plays itself."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from common.access.desktop import Desktop
from common.tickets import PictureTicket, issue
from common.words import Resources, SessionMode
from tests.support.fake_screen import LIMIT_S, let_in, raw, server, show, update_of
from tests.support.gateway import Gateway
from workers.compute.handed import Handed
from workers.gateway.desktop import rfb
from workers.gateway.desktop.passwords import FILE, Passwords

SCREEN, HOST = "i-screen", "i-screen.localhost"


@contextmanager
def screen(
    gateway: Gateway, play: Callable[[socket.socket, Passwords], None], times: int = 1
) -> Iterator[None]:
    """An instance whose screen plays its part."""
    directory = Handed(gateway.config.state_dir).make(Desktop(), SCREEN, 1)
    assert directory is not None
    passwords = Passwords.read(directory / FILE)
    with server(lambda connection: play(connection, passwords), times) as (address, port):
        row = gateway.instances.admit(SCREEN, 1, "d", Resources(), Resources())
        gateway.instances.place_on(row, "net", [address])
        gateway.instances.started(row, "c", port, time.time() + 60, Desktop())
        gateway.instances.ready(row)
        yield


@contextmanager
def open_socket(gateway: Gateway, mode: SessionMode = SessionMode.CONTROL) -> Iterator[ClientConnection]:
    """A browser's WebSocket, past its side of the handshake."""
    origin = f"http://{HOST}:{gateway.config.front_port}"
    with connect(
        origin.replace("http", "ws") + "/_openraas/desktop/socket",
        sock=socket.create_connection(("127.0.0.1", gateway.config.front_port), LIMIT_S),
        additional_headers={"Cookie": gateway.enter(SCREEN, mode=mode)},
        origin=Origin(origin),
        compression=None,
    ) as browser:
        assert browser.recv(LIMIT_S) == rfb.VERSION
        browser.send(rfb.VERSION)
        assert browser.recv(LIMIT_S) == b"\x01\x01"
        browser.send(b"\x01")
        assert browser.recv(LIMIT_S) == rfb.OK
        yield browser


@pytest.mark.parametrize("mode", list(SessionMode))
def test_the_screen_is_told_by_its_password_what_a_session_may_do(
    gateway: Gateway, mode: SessionMode
) -> None:
    used: list[SessionMode] = []

    def play(connection: socket.socket, passwords: Passwords) -> None:
        word = let_in(connection, (passwords.control, passwords.watch))
        used.append(next(mode for mode in SessionMode if passwords.of(mode) == word))
        connection.sendall(b"hello")

    with screen(gateway, play), open_socket(gateway, mode) as browser:
        assert browser.recv(LIMIT_S) == b"hello"
    assert used == [mode]


def test_what_a_browser_sends_in_one_go_arrives_whole_and_in_order(gateway: Gateway) -> None:
    sent = [bytes((number,)) * (number % 7 + 1) for number in range(200)]
    whole = b"".join(sent)

    def play(connection: socket.socket, passwords: Passwords) -> None:
        let_in(connection, (passwords.control,))
        connection.sendall(rfb.reader(connection)(len(whole)))

    with screen(gateway, play), open_socket(gateway) as browser:
        # One segment: the frames of all messages reach the gateway with one read.
        with browser.protocol_mutex:
            for message in sent:
                browser.protocol.send_binary(message)
            browser.socket.sendall(b"".join(browser.protocol.data_to_send()))
        back = b""
        while len(back) < len(whole):
            piece = browser.recv(LIMIT_S)
            assert isinstance(piece, bytes)
            back += piece
    assert back == whole


def test_a_screen_that_goes_away_closes_the_browsers_connection_and_says_so(gateway: Gateway) -> None:
    with (
        screen(gateway, lambda connection, passwords: let_in(connection, (passwords.control,)) and None),
        open_socket(gateway) as browser,
        pytest.raises(ConnectionClosed, match="The screen has closed the connection"),
    ):
        browser.recv(LIMIT_S)


def test_a_browser_that_goes_away_lets_go_of_the_screen(gateway: Gateway) -> None:
    ended: list[bytes] = []

    def play(connection: socket.socket, passwords: Passwords) -> None:
        let_in(connection, (passwords.control,))
        ended.append(connection.recv(1))

    with screen(gateway, play), open_socket(gateway):
        pass
    assert ended == [b""]


def test_a_screen_that_does_not_take_the_password_is_an_error_before_anything_is_promised(
    gateway: Gateway,
) -> None:
    with screen(gateway, lambda connection, _: let_in(connection, ("other",)) and None):
        status, _, body = gateway.ask(
            "GET", "/_openraas/desktop/socket", HOST, Cookie=gateway.enter(SCREEN), Upgrade="websocket"
        )
    assert status == 503
    assert "did not take the box's password" in json.loads(body)["message"]


def test_the_page_is_the_boxes_own_and_runs_nothing_from_elsewhere(gateway: Gateway) -> None:
    with screen(gateway, lambda *_: None):
        cookie = gateway.enter(SCREEN)
        status, headers, body = gateway.ask("GET", "/_openraas/desktop/", HOST, Cookie=cookie)
        assert status == 200
        policy = headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert b"<script>" not in body
        assert b"style=" not in body
        assert gateway.ask("GET", "/", HOST, Cookie=cookie)[1]["location"] == "/_openraas/desktop/"
        assert gateway.ask("GET", "/_openraas/desktop/", HOST)[0] == 401


def test_who_watches_changes_no_rate_and_nonsense_is_named(gateway: Gateway) -> None:
    def ask(body: bytes, mode: SessionMode) -> int:
        return gateway.ask(
            "POST", "/_openraas/desktop/frame-rate", HOST, body, Cookie=gateway.enter(SCREEN, mode=mode)
        )[0]

    with screen(gateway, lambda *_: None):
        assert ask(b'{"frame_rate": 10}', SessionMode.WATCH) == 403
        for nonsense in (b"", b"{}", b'{"frame_rate": 0}', b'{"frame_rate": 10, "x": 1}', b"x" * 5000):
            assert ask(nonsense, SessionMode.CONTROL) == 422


def picture(gateway: Gateway, ticket: str, instance: str = SCREEN) -> tuple[int, dict[str, str], bytes]:
    return gateway.ask("GET", f"/_openraas/pictures/{instance}?ticket={ticket}", "127.0.0.1")


def test_a_small_picture_needs_a_ticket_for_this_start_of_this_instance(gateway: Gateway) -> None:
    def ticket(**changes: object) -> str:
        values = {"instance": SCREEN, "generation": 1, "user": "u", "expires_at": time.time() + 60, **changes}
        return issue(gateway.signer, PictureTicket.model_validate(values))

    def play(connection: socket.socket, passwords: Passwords) -> None:
        show(connection, update_of(raw(0, 0, 4, 2, b"\x10\x20\x30\0")), passwords=(passwords.watch,))

    # One connection only: who looks again within the next seconds sees the same picture.
    with screen(gateway, play, times=1):
        for _ in range(2):
            status, headers, body = picture(gateway, ticket())
            assert (status, headers["content-type"]) == (200, "image/png")
            assert headers["cross-origin-resource-policy"] == "cross-origin"
            assert body.startswith(b"\x89PNG")
        assert picture(gateway, "")[0] == 401
        assert picture(gateway, gateway.ticket(SCREEN))[0] == 401
        assert picture(gateway, ticket(expires_at=1.0))[0] == 401
        assert picture(gateway, ticket(instance="i-1"))[0] == 403
        assert picture(gateway, ticket(generation=2))[0] == 404
        assert picture(gateway, ticket(instance="i-1"), "i-1")[0] == 404  # it runs, and has no screen
    assert "ticket=" not in gateway.log.read_text()
