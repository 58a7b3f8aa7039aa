"""A silent stream ends when nobody listens any more."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from common.hangup import HangUp

Pair = tuple[socket.socket, socket.socket]
LONG_S = 60.0


@pytest.fixture
def source() -> Iterator[Pair]:
    here, there = socket.socketpair()
    here.settimeout(LONG_S)
    with closing(here), closing(there):
        yield here, there


@pytest.fixture
def listener() -> Iterator[Pair]:
    here, there = socket.socketpair()
    with closing(here), closing(there):
        yield here, there


def test_a_read_ends_when_the_listener_goes(source: Pair, listener: Pair) -> None:
    with HangUp(source[0], listener[0], limit_s=LONG_S) as hangup:
        listener[1].close()
        assert source[0].recv(1) == b""
        assert hangup.happened


def test_a_listener_that_says_something_is_still_there(source: Pair, listener: Pair) -> None:
    with HangUp(source[0], listener[0], limit_s=LONG_S) as hangup:
        listener[1].sendall(b"hello")
        source[1].sendall(b"x")
        assert source[0].recv(1) == b"x"
        assert not hangup.happened


def test_a_read_ends_when_time_is_over(source: Pair) -> None:
    with HangUp(source[0], None, limit_s=0.05) as hangup:
        assert source[0].recv(1) == b""
        assert hangup.happened


def test_what_ends_by_itself_is_not_held_up(source: Pair, listener: Pair) -> None:
    began = time.monotonic()
    with HangUp(source[0], listener[0], limit_s=LONG_S) as hangup:
        pass
    assert not hangup.happened
    assert time.monotonic() - began < LONG_S / 2
