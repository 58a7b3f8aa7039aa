"""A shell and those who look at it, with a terminal that the test writes."""

from __future__ import annotations

import json
import queue
import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.redis import wait_until
from workers.gateway.terminal import shell as module
from workers.gateway.terminal.scrollback import Scrollback
from workers.gateway.terminal.shell import NO_SHELL, WINDOW_BYTES, Shell, Viewer

LIMIT_S = 10.0
SIZE = {"type": "size", "columns": 132, "rows": 43}


class FakeLine:
    """A terminal whose program says what the test wants."""

    def __init__(self) -> None:
        self.output: queue.Queue[bytes] = queue.Queue()
        self.typed = b""
        self.sizes: list[tuple[int, int]] = []
        self.reads = 0

    def says(self, text: bytes) -> None:
        self.output.put(text)

    def read(self) -> bytes:
        self.reads += 1
        return self.output.get()

    def write(self, data: bytes) -> None:
        self.typed += data

    def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    def close(self) -> None:
        self.output.put(b"")


class Window:
    """A browser window: what it was sent."""

    def __init__(self, shell: Shell, *, control: bool = True) -> None:
        self.shown = b""
        self.notes: list[dict[str, Any]] = []
        self.viewer = Viewer(self._take, may_control=control)
        self.shell = shell
        self.acks = True
        self.thread = threading.Thread(target=shell.show, args=(self.viewer,), daemon=True)
        self.thread.start()

    def _take(self, message: bytes | str) -> None:
        if isinstance(message, str):
            self.notes.append(json.loads(message))
            return
        self.shown += message
        if self.acks:
            self.shell.shown(self.viewer, len(message))

    def kinds(self) -> list[str]:
        return [str(note["type"]) for note in self.notes]


def begin() -> tuple[FakeLine, Shell, list[int]]:
    line, killed = FakeLine(), list[int]()
    shell = Shell(line, killed.append)
    line.says(b"41\r\n")
    return line, shell, killed


def test_who_comes_later_sees_what_was_printed_before() -> None:
    line, shell, _ = begin()
    line.says(b"$ ")
    first = Window(shell)
    wait_until(lambda: first.shown == b"$ ", LIMIT_S, "the prompt")
    shell.write(b"ls\r")
    line.says(b"ls\r\na b\r\n$ ")
    wait_until(lambda: first.shown.endswith(b"a b\r\n$ "), LIMIT_S, "the answer")
    second = Window(shell, control=False)
    wait_until(lambda: second.shown == first.shown, LIMIT_S, "the same in the second window")
    assert line.typed == b"ls\r"
    assert [note["control"] for note in (first.notes[0], second.notes[0])] == [True, False]


def test_a_new_size_is_told_to_the_program_and_to_everybody() -> None:
    line, shell, _ = begin()
    windows = [Window(shell), Window(shell, control=False)]
    wait_until(lambda: line.sizes == [(80, 24)], LIMIT_S, "the first size")
    shell.resize(132, 43)
    for window in windows:
        wait_until(lambda window=window: SIZE in window.notes, LIMIT_S, "the size")  # type: ignore[misc]
    assert line.sizes[-1] == (132, 43)


def test_a_shell_that_ends_says_so_after_its_last_words() -> None:
    line, shell, _ = begin()
    window = Window(shell)
    line.says(b"logout\r\n")
    line.says(b"")
    window.thread.join(LIMIT_S)
    assert (window.shown, window.kinds()) == (b"logout\r\n", ["hello", "ended"])
    assert shell.is_over


def test_an_image_without_a_shell_is_told_as_that() -> None:
    line = FakeLine()
    shell = Shell(line, lambda _: None)
    window = Window(shell)
    line.says(b"OCI runtime exec failed: no such file\r\n")
    window.thread.join(LIMIT_S)
    assert window.notes[-1] == {"type": "ended", "why": NO_SHELL}


def test_a_closed_window_ends_what_it_started() -> None:
    line, shell, killed = begin()
    line.says(b"$ ")
    window = Window(shell)
    wait_until(lambda: window.shown == b"$ ", LIMIT_S, "the prompt")
    shell.end()
    window.thread.join(LIMIT_S)
    assert (killed, window.kinds()[-1]) == ([41], "ended")


def test_a_browser_that_shows_nothing_is_sent_a_bounded_amount_and_holds_the_program_back() -> None:
    line, shell, _ = begin()
    window = Window(shell)
    window.acks = False
    for _ in range(100):
        line.says(b"x" * 32 * 1024)
    wait_until(lambda: len(window.shown) == WINDOW_BYTES, LIMIT_S, "a full window")
    wait_until(
        lambda: line.reads >= 1 + (WINDOW_BYTES + module.BEHIND_BYTES) // (32 * 1024), LIMIT_S, "reading"
    )
    reads = line.reads
    assert reads <= 4 + (WINDOW_BYTES + module.BEHIND_BYTES) // (32 * 1024)
    window.acks = True
    shell.shown(window.viewer, WINDOW_BYTES)
    wait_until(lambda: line.output.empty(), LIMIT_S, "the rest")
    assert "skipped" not in window.kinds()


def test_who_only_watches_holds_nobody_back_and_begins_anew() -> None:
    line, shell, _ = begin()
    control, watcher = Window(shell), Window(shell, control=False)
    watcher.acks = False
    for _ in range(40):
        line.says(b"y" * 32 * 1024)
    wait_until(
        lambda: len(control.shown) == 40 * 32 * 1024, LIMIT_S, "everything in the window that controls"
    )
    assert len(watcher.shown) == WINDOW_BYTES
    watcher.acks = True
    shell.shown(watcher.viewer, WINDOW_BYTES)
    wait_until(lambda: "skipped" in watcher.kinds(), LIMIT_S, "that something was left out")


def test_nobody_looking_is_measured_and_somebody_looking_is_not_idle() -> None:
    _, shell, _ = begin()
    window = Window(shell)
    wait_until(lambda: window.notes != [], LIMIT_S, "the first message")
    assert shell.idle_s() == 0.0
    shell.leave(window.viewer)
    window.thread.join(LIMIT_S)
    wait_until(lambda: shell.idle_s() > 0, LIMIT_S, "idleness")


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(1, 60))
def test_the_scrollback_is_the_end_of_what_was_printed_and_bounded(pieces: list[bytes], most: int) -> None:
    kept, whole = Scrollback(most), b""
    for piece in pieces:
        kept.add(piece)
        whole += piece
        assert kept.end == len(whole)
        assert kept.end - kept.begin <= most
        assert kept.read(kept.begin, most) == whole[kept.begin :]


def test_a_replay_begins_with_a_whole_line() -> None:
    kept = Scrollback(40)
    kept.add(b"".join(b"line %d\n" % number for number in range(10, 20)))
    assert kept.read(kept.begin, 8) == b"line 16\n"
