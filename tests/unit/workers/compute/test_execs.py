"""A terminal in a container, as the front holds it."""

from __future__ import annotations

import socket

import pytest

from workers.compute.errors import EngineError
from workers.compute.execs import Exec


def test_what_is_typed_into_a_terminal_that_was_closed_is_told_as_such() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        line = Exec("unix:///none", "x", ours, b"", timeout_s=1.0)
        line.close()
        with pytest.raises(EngineError, match="has ended"):
            line.write(b"a")
