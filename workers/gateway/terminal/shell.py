"""One shell in a container: what it prints goes to everybody who looks, what those who control type goes to it.

Memory is bounded whatever the shell prints and however slow a browser is. A shell is read only as fast as the
quickest of those who control it shows it; who is slower than that misses something and begins anew.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from typing import Protocol

from common.errors import OpenRaaSError
from common.logs import get_logger
from workers.gateway.terminal.messages import Ended, Hello, Resized, Skipped
from workers.gateway.terminal.scrollback import Scrollback

log = get_logger(__name__)

# So much may be on its way to one browser before it says that it has shown some of it.
WINDOW_BYTES = 128 * 1024
PIECE_BYTES = 32 * 1024
# The shell is not read further while everybody who controls it is so far behind, but for at most so long.
BEHIND_BYTES, BEHIND_S = 128 * 1024, 20.0
BEGIN_S, FIRST_LINE_BYTES = 10.0, 4096
COLUMNS, ROWS = 80, 24
NO_SHELL = "This image has no shell: it lacks /bin/sh."


class Line(Protocol):
    """The terminal in the container; `workers.compute.execs.Exec` is it."""

    def read(self) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def resize(self, columns: int, rows: int) -> None: ...
    def close(self) -> None: ...


class Viewer:
    """One browser window that shows a shell. `send` gives a message away, or raises OSError."""

    def __init__(self, send: Callable[[bytes | str], None], *, may_control: bool) -> None:
        self.send = send
        self.may_control = may_control
        self.place = 0
        self.shown = 0
        self.notes: list[str] = []


class Shell:
    """A shell and its viewers. It begins to be read when it is made."""

    def __init__(self, line: Line, kill: Callable[[int], None]) -> None:
        self.id = secrets.token_urlsafe(9)
        self.since = time.time()
        self.left_at = time.monotonic()
        self.columns, self.rows = COLUMNS, ROWS
        self._line, self._kill = line, kill
        self._pid: int | None = None
        self._has_begun = False
        self._scrollback = Scrollback()
        self._viewers: list[Viewer] = []
        self._changed = threading.Condition()
        self._why_ended: str | None = None
        threading.Thread(target=self._read, name="shell", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._why_ended is not None

    def idle_s(self) -> float:
        """For how long nobody has looked."""
        with self._changed:
            return 0.0 if self._viewers else time.monotonic() - self.left_at

    # Those who look

    def show(self, viewer: Viewer) -> None:
        """Send the viewer what was printed of late and all that follows, until the shell ends or the viewer is left.

        Raises OSError when the viewer takes nothing.
        """
        with self._changed:
            viewer.place = viewer.shown = self._scrollback.begin
            hello = Hello(shell=self.id, columns=self.columns, rows=self.rows, control=viewer.may_control)
            viewer.notes.append(hello.model_dump_json())
            self._viewers.append(viewer)
        try:
            while (messages := self._next(viewer)) is not None:
                for message in messages:
                    viewer.send(message)
        finally:
            self.leave(viewer)

    def leave(self, viewer: Viewer) -> None:
        """The viewer looks no more; `show` returns."""
        with self._changed:
            if viewer in self._viewers:
                self._viewers.remove(viewer)
            self.left_at = time.monotonic()
            self._changed.notify_all()

    def shown(self, viewer: Viewer, count: int) -> None:
        """The viewer has shown so many more bytes."""
        with self._changed:
            viewer.shown = min(viewer.shown + count, viewer.place)
            self._changed.notify_all()

    def _next(self, viewer: Viewer) -> list[bytes | str] | None:
        """What the viewer gets next; none when there is no more. Waits for as long as there is nothing."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_something(viewer))
            if viewer not in self._viewers:
                return None
            messages: list[bytes | str] = list(viewer.notes)
            viewer.notes.clear()
            if viewer.place < self._scrollback.begin:
                messages.append(Skipped(bytes=self._scrollback.begin - viewer.place).model_dump_json())
                viewer.place = viewer.shown = self._scrollback.begin
            room = WINDOW_BYTES - (viewer.place - viewer.shown)
            if piece := self._scrollback.read(viewer.place, min(PIECE_BYTES, max(0, room))):
                viewer.place += len(piece)
                messages.append(piece)
                self._changed.notify_all()
            if self.is_over and viewer.place == self._scrollback.end:
                messages.append(Ended(why=self._why_ended or "").model_dump_json())
                self._viewers.remove(viewer)
            return messages

    def _has_something(self, viewer: Viewer) -> bool:
        if viewer not in self._viewers or viewer.notes:
            return True
        has_room = viewer.place - viewer.shown < WINDOW_BYTES
        is_behind = viewer.place < self._scrollback.end
        return (is_behind and has_room) or (self.is_over and not is_behind)

    # The shell itself

    def write(self, data: bytes) -> None:
        """Type. What comes before the shell has begun waits: its echo would stand before the process number."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_begun or self.is_over, BEGIN_S)
        with contextlib.suppress(OpenRaaSError):  # a program that reads nothing, or has ended, loses it
            self._line.write(data)

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size, for everybody who looks."""
        with self._changed:
            if (columns, rows) == (self.columns, self.rows):
                return
            self.columns, self.rows = columns, rows
            note = Resized(columns=columns, rows=rows).model_dump_json()
            for viewer in self._viewers:
                viewer.notes.append(note)
            self._changed.notify_all()
            has_begun = self._has_begun
        if has_begun:
            self._apply_size()

    def end(self, why: str = "") -> None:
        """Let the shell end, with what it started in the foreground."""
        if self._pid is not None and not self.is_over:
            try:
                self._kill(self._pid)
            except OpenRaaSError as error:
                log.info("a shell was left to its container's end", error=str(error))
        self._over(why)
        self._line.close()

    def _apply_size(self) -> None:
        try:
            self._line.resize(self.columns, self.rows)
        except OpenRaaSError as error:
            log.info("a terminal keeps its size", error=str(error))

    def _read(self) -> None:
        why = ""
        try:
            rest = self._learn_pid()
            self._begin()
            self._print(rest)
            while piece := self._line.read():
                self._print(piece)
                self._keep_pace()
        except OpenRaaSError as error:
            why = str(error)
        except Exception:
            log.exception("a shell broke off")
            why = "The box could not go on with this shell; its log says why."
        self._over(why)
        self._line.close()

    def _learn_pid(self) -> bytes:
        """The first line that comes is the shell's process number in its container; gives what follows it."""
        head = b""
        while b"\n" not in head and len(head) < FIRST_LINE_BYTES and (piece := self._line.read()):
            head += piece
        number, _, rest = head.partition(b"\n")
        if not number.strip().isdigit():
            log.info("no shell in the container", said=head[:200].decode(errors="replace"))
            raise OpenRaaSError(NO_SHELL)
        self._pid = int(number)
        return rest

    def _begin(self) -> None:
        """Give it its size, which may change meanwhile; then it may be typed into."""
        applied = (0, 0)
        while True:
            with self._changed:
                if applied == (self.columns, self.rows):
                    self._has_begun = True
                    self._changed.notify_all()
                    return
                applied = (self.columns, self.rows)
            self._apply_size()

    def _print(self, piece: bytes) -> None:
        with self._changed:
            self._scrollback.add(piece)
            self._changed.notify_all()

    def _keep_pace(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._all_are_behind(), BEHIND_S)

    def _all_are_behind(self) -> bool:
        places = [viewer.place for viewer in self._viewers if viewer.may_control]
        return bool(places) and self._scrollback.end - max(places) > BEHIND_BYTES

    def _over(self, why: str) -> None:
        with self._changed:
            if self._why_ended is None:
                self._why_ended = why
            self._changed.notify_all()
