"""File sessions of a box: one sandboxed process per home, started when somebody asks and gone when nobody does.

The front keeps each home's listening socket, as inetd does: what connects while no process runs waits in it, and
starts one. A session has the home's lock, so the home stays mounted; how it lives beside a running instance is told
in docs/files.md. One thread starts all processes and never ends: a sandbox dies with the thread that made it
(prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import OpenRaaSError, Unavailable
from common.files import write_atomically
from common.logs import get_logger
from workers.filestore.browsing import sandbox
from workers.filestore.processes import Process, kill
from workers.filestore.volumes import Volumes

log = get_logger(__name__)

MOST_SESSIONS = 64
LOOK_S = 5.0
BACKLOG = 128
_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Retry-After: 5\r\n\r\n"
    b'{"error": "unavailable", "message": "The home cannot be opened now. Try again in a moment.", "field": null}'
)


@dataclass
class _Session:
    fileset: str
    limit_bytes: int
    listener: socket.socket
    asked_at: float = field(default_factory=time.monotonic)
    process: subprocess.Popen[bytes] | None = None
    pidfd: int = -1


class Sessions:
    """The sessions of one front process."""

    def __init__(self, volumes: Volumes, run: Path) -> None:
        self._volumes = volumes
        self._directory = run / "files"
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        threading.Thread(target=self._loop, name="file-sessions", daemon=True).start()

    def socket_of(self, fileset: str, limit_bytes: int) -> Path:
        """Where the home's session answers; whoever connects starts it. Raises Unavailable beyond the limit."""
        path = self._directory / f"{fileset}.sock"
        with self._lock:
            session = self._sessions.get(fileset)
            if session is not None:
                session.asked_at, session.limit_bytes = time.monotonic(), limit_bytes
                return path
            if len(self._sessions) >= MOST_SESSIONS:
                self._drop_one()
            self._sessions[fileset] = _Session(fileset, limit_bytes, _listen(path))
        with contextlib.suppress(BlockingIOError):
            self._wake.send(b"!")
        return path

    def _drop_one(self) -> None:
        """Forget the session without a process that was asked for longest ago."""
        idle = [session for session in self._sessions.values() if session.process is None]
        if not idle:
            raise Unavailable(
                f"{MOST_SESSIONS} people use their files on this box now.",
                remedy="Try again in a few minutes.",
            )
        oldest = min(idle, key=lambda session: session.asked_at)
        oldest.listener.close()
        del self._sessions[oldest.fileset]

    def _loop(self) -> None:
        while True:
            try:
                self._round()
            except Exception:
                # Without this thread nobody reaches a file: go on, and say what went wrong.
                log.exception("file sessions")
                time.sleep(LOOK_S)

    def _round(self) -> None:
        with self._lock:
            sessions = list(self._sessions.values())
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        waiting: dict[int, _Session] = {}
        for session in sessions:
            number = session.listener.fileno() if session.process is None else session.pidfd
            if number >= 0:
                poll.register(number, select.POLLIN)
                waiting[number] = session
        for number, _ in poll.poll(LOOK_S * 1000):
            if number == self._woken.fileno():
                self._woken.recv(64)
            elif (session := waiting[number]).process is None:
                self._start(session)
            else:
                self._ended(session)

    def _start(self, session: _Session) -> None:
        """Somebody connected and no process is there to answer."""
        try:
            with self._volumes.using(session.fileset, session.limit_bytes) as point:
                session.process = self._run(session, point)
            session.pidfd = os.pidfd_open(session.process.pid)
        except (OpenRaaSError, OSError) as error:
            log.warning("file session not started", fileset=session.fileset, error=str(error))
            _turn_away(session.listener)
            return
        if (process := Process.find(session.process.pid)) is not None:
            write_atomically(
                self._register(session.fileset), f"{process.pid} {process.started}\n", mode=0o600
            )

    def _run(self, session: _Session, point: Path) -> subprocess.Popen[bytes]:
        uid, listener = self._volumes.uid(session.fileset), session.listener.fileno()
        sandbox.make_aside(point, uid)
        lock = self._volumes.share(session.fileset)
        try:
            # The lock goes with the process and all its children: whoever gets it alone knows that none is left.
            return subprocess.Popen(
                sandbox.command(listener, point, uid),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener, lock],
            )
        finally:
            os.close(lock)

    def _ended(self, session: _Session) -> None:
        """Its process is gone: idle, or ended by somebody."""
        assert session.process is not None  # noqa: S101 - only such a session is told of here
        code = session.process.wait()
        if code not in (0, -signal.SIGKILL, 128 + signal.SIGKILL):
            log.warning("file session failed", fileset=session.fileset, code=code)
            _turn_away(session.listener)
        os.close(session.pidfd)
        self._register(session.fileset).unlink(missing_ok=True)
        session.process, session.pidfd = None, -1

    def _register(self, fileset: str) -> Path:
        return self._directory / f"{fileset}.process"


def end(run: Path, fileset: str) -> None:
    """End a home's session, whichever process of the box started it; what it had under way is cut off."""
    try:
        pid, started = (run / "files" / f"{fileset}.process").read_text().split()
    except FileNotFoundError:
        return
    kill(Process(int(pid), int(started)), signal.SIGKILL)


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


def _turn_away(listener: socket.socket) -> None:
    """Answer everybody who waits that it does not work now."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while poll.poll(0):
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(_AWAY)
