"""Terminals through nginx and the front, in a container of a real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from common.access import TERMINAL
from common.words import SessionMode
from tests.support.containers import run_busybox
from tests.support.engine import EngineServer, run_engine, run_podman
from tests.support.gateway import Gateway, run_gateway
from tests.support.redis import wait_until
from tests.support.terminals import LIMIT_S, dial
from workers.compute.shares import EndedShares

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Iterator[EngineServer]:
    with run_engine() if request.param == "docker" else run_podman() as server:
        yield server


@pytest.fixture(scope="module")
def container(engine: EngineServer) -> Iterator[str]:
    with run_busybox(engine.url) as running:
        yield running


@pytest.fixture
def gateway(tmp_path: Path, engine: EngineServer, container: str) -> Iterator[Gateway]:
    with run_gateway(tmp_path, engine_url=engine.url) as running:
        running.add("i-t", access=TERMINAL, container=container)
        yield running


class Window:
    """What a browser's window does, without the browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.shown = b""
        self.notes: list[dict[str, Any]] = []

    def type(self, text: str) -> None:
        self.connection.send(text.encode())

    def say(self, **message: Any) -> None:
        self.connection.send(json.dumps(message))

    def until(self, text: bytes) -> None:
        while text not in self.shown:
            self.take()

    def note(self, kind: str) -> dict[str, Any]:
        while all(note["type"] != kind for note in self.notes):
            self.take()
        return next(note for note in self.notes if note["type"] == kind)

    def take(self) -> None:
        message = self.connection.recv(LIMIT_S)
        if isinstance(message, str):
            self.notes.append(json.loads(message))
        else:
            self.shown += message


def netloc(gateway: Gateway, instance: str = "i-t") -> str:
    return f"{instance}.localhost:{gateway.config.front_port}"


@contextmanager
def window(gateway: Gateway, cookie: str, shell: str = "", instance: str = "i-t") -> Iterator[Window]:
    with dial(netloc(gateway, instance), cookie, shell=shell) as connection:
        yield Window(connection)


def test_a_shell_is_typed_into_resized_and_found_again(gateway: Gateway) -> None:
    cookie = gateway.enter("i-t")
    with window(gateway, cookie) as first:
        shell = first.note("hello")["shell"]
        first.until(b"# ")
        first.type("word=secret-$((40+2))\n")
        first.say(type="size", columns=101, rows=31)
        first.type('echo "<$(busybox stty size)>"\n')
        first.until(b"<31 101>")
    # The connection broke; the shell is there still, with what it printed and with what it knows.
    with window(gateway, cookie, shell) as again:
        again.until(b"<31 101>")
        again.type("echo is=$word\n")
        again.until(b"is=secret-42")
        again.say(type="ping", at=1.5)
        assert again.note("pong")["at"] == 1.5
        again.type("exit\n")
        assert again.note("ended")["why"] == ""
    with window(gateway, cookie, shell) as late:
        assert "This shell has ended." in late.note("ended")["why"]


def test_who_watches_sees_everything_and_types_nothing(gateway: Gateway) -> None:
    owner = gateway.enter("i-t", name="ada")
    guest = gateway.enter("i-t", mode=SessionMode.WATCH, share="s-1", name="bob")
    with window(gateway, owner) as mine:
        shell = mine.note("hello")["shell"]
        with window(gateway, guest, shell) as theirs:
            assert theirs.note("hello")["control"] is False
            theirs.type("echo from-the-guest\n")
            theirs.say(type="size", columns=30, rows=10)
            theirs.say(type="end")
            theirs.say(type="ping", at=1.0)
            theirs.note("pong")  # all of it has arrived
            mine.type("echo from-the-own$((1))er; busybox stty size\n")
            theirs.until(b"from-the-own1er")
            theirs.until(b"24 80")
            assert b"from-the-guest" not in theirs.shown
            people = _session(gateway, owner)["people"]
            assert [(person["name"], person["mode"], person["you"]) for person in people] == [
                ("ada", "control", True),
                ("bob", "watch", False),
            ]
    with window(gateway, guest) as none:
        assert "only watches" in none.note("ended")["why"]


def _session(gateway: Gateway, cookie: str) -> Any:
    status, _, body = gateway.ask("GET", "/_openraas/session", "i-t.localhost", Cookie=cookie)
    assert status == 200
    return json.loads(body)


def test_an_ended_invitation_cuts_its_connections_and_no_other(gateway: Gateway) -> None:
    owner, guest = gateway.enter("i-t"), gateway.enter("i-t", share="s-2")
    with window(gateway, owner) as mine, window(gateway, guest) as theirs:
        theirs.note("hello")
        mine.note("hello")
        EndedShares(gateway.table).end("i-t", ["s-2"])
        with pytest.raises(Exception, match="share-ended"):
            theirs.note("never")
        mine.type("echo still-$((1))\n")
        mine.until(b"still-1")
    status, _, body = gateway.ask("GET", "/_openraas/terminal/", "i-t.localhost", Cookie=guest)
    assert (status, b"This invitation has ended" in body) == (403, True)


def test_a_stopped_instance_ends_its_windows(gateway: Gateway) -> None:
    with window(gateway, gateway.enter("i-t")) as mine:
        mine.note("hello")
        row = gateway.instances.get("i-t")
        assert row is not None
        gateway.instances.end(row)
        with pytest.raises(Exception, match="gone"):
            mine.note("never")


def test_the_owner_has_a_terminal_in_any_instance_and_a_guest_has_not(
    gateway: Gateway, container: str
) -> None:
    gateway.add("i-web", container=container)
    owner = gateway.enter("i-web", also=["terminal"])
    with window(gateway, owner, instance="i-web") as mine:
        mine.type("echo $((6*7))\n")
        mine.until(b"42")
    guest = gateway.enter("i-web", share="s-3")
    with pytest.raises(InvalidStatus, match="403"), window(gateway, guest, instance="i-web"):
        pass


def test_windows_are_bounded_and_closed_ones_make_room(gateway: Gateway) -> None:
    cookie = gateway.enter("i-t")

    def shells() -> list[str]:
        _, _, body = gateway.ask("GET", "/_openraas/terminal/shells", "i-t.localhost", Cookie=cookie)
        found: list[str] = json.loads(body)["shells"]
        return found

    opened = []
    while len(opened) < 8:
        with window(gateway, cookie) as made:
            opened.append(made.note("hello")["shell"])
    assert shells() == opened
    with window(gateway, cookie) as refused:
        assert "8 windows are open already" in refused.note("ended")["why"]
    for shell in opened:
        with window(gateway, cookie, shell) as closing:
            closing.until(b"# ")
            closing.say(type="end")
            closing.note("ended")
    wait_until(lambda: shells() == [], LIMIT_S, "all shells ended")


def test_a_program_that_prints_without_end_can_be_interrupted(gateway: Gateway) -> None:
    with window(gateway, gateway.enter("i-t")) as mine:
        mine.type("while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done\n")
        mine.until(b"yyyy\r\nyyyy")
        mine.type("\x03")
        mine.type("echo do''ne\n")
        seen = 0
        while b"done" not in mine.shown[-200_000:]:
            mine.take()
            mine.say(type="ack", bytes=len(mine.shown) - seen)
            seen = len(mine.shown)


def test_another_sites_page_opens_no_terminal(gateway: Gateway) -> None:
    cookie = gateway.enter("i-t")
    with (
        pytest.raises(InvalidStatus, match="403"),
        dial(netloc(gateway), cookie, origin="http://evil.example"),
    ):
        pass


def test_the_page_begins_where_the_ticket_leads_and_lets_no_other_script_run(gateway: Gateway) -> None:
    cookie = gateway.enter("i-t")
    status, headers, _ = gateway.ask("GET", "/", "i-t.localhost", Cookie=cookie)
    assert (status, headers["location"]) == (303, "/_openraas/terminal/")
    status, headers, body = gateway.ask("GET", "/_openraas/terminal/", "i-t.localhost", Cookie=cookie)
    assert (status, b"terminal.js" in body) == (200, True)
    assert "script-src 'self';" in headers["content-security-policy"]
    status, headers, _ = gateway.ask("GET", "/_openraas/static/terminal.js", "i-t.localhost")
    assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert gateway.ask("GET", "/_openraas/terminal/", "i-t.localhost")[0] == 401
    assert gateway.ask("GET", "/_openraas/nothing/", "i-t.localhost", Cookie=cookie)[0] == 404
