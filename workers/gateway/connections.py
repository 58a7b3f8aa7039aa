"""Who is in a session now: open connections, and requests of late; what may not go on is cut."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from common.logs import get_logger
from workers.compute.activity import UseTable
from workers.gateway.cookies import Session
from workers.gateway.standing import Standing

log = get_logger(__name__)

# How long a session that was ended may still see or do something.
LOOK_S = 1.0
# A browser without an open connection counts as there for so long after its last request.
PRESENT_S = 60.0
ENDED = "session-over"


@dataclass(frozen=True)
class Person:
    """Somebody in the session; several windows of one browser are one person."""

    key: str
    name: str
    mode: str
    guest: bool
    share: str | None
    since: float


@dataclass(eq=False)
class _Open:
    session: Session
    close: Callable[[str], None]
    since: float = field(default_factory=time.time)


class Connections:
    """The open connections of one front process."""

    def __init__(self, standing: Standing, uses: UseTable) -> None:
        self._standing, self._uses = standing, uses
        self._open: set[_Open] = set()
        self._seen: dict[str, tuple[Session, float, float]] = {}
        self._changed = threading.Condition()
        self._version = 0
        self._watcher: threading.Thread | None = None

    @contextmanager
    def opened(self, session: Session, close: Callable[[str], None]) -> Iterator[None]:
        """While this lasts the connection counts, and `close(why)` is called once the session may not go on."""
        entry = _Open(session, close)
        with self._changed:
            self._open.add(entry)
            self._tell()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="sessions", daemon=True)
                self._watcher.start()
        try:
            yield
        finally:
            with self._changed:
                self._open.discard(entry)
                self._tell()

    def seen(self, session: Session) -> None:
        """The session has just asked for something."""
        now = time.time()
        known = self._seen.get(session.key)
        with self._changed:
            self._seen[session.key] = (session, known[1] if known else now, now)
            if known is None:
                self._seen = {key: item for key, item in self._seen.items() if item[2] > now - PRESENT_S}
                self._tell()

    def people(self, instance: str) -> list[Person]:
        """Who is there, the longest first."""
        late = time.time() - PRESENT_S
        with self._changed:
            there = [(item.session, item.since) for item in self._open]
            there += [(session, since) for session, since, last in self._seen.values() if last > late]
        found: dict[str, Person] = {}
        for session, since in sorted(there, key=lambda item: item[1]):
            if session.instance == instance and session.key not in found:
                found[session.key] = Person(
                    session.key, session.name, session.mode, session.share is not None, session.share, since
                )
        return list(found.values())

    def version(self) -> int:
        """Grows whenever somebody comes or goes."""
        return self._version

    def wait(self, version: int, limit_s: float) -> int:
        """Until the version is another one or the limit is over; gives the version then."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, limit_s)
            return self._version

    def _tell(self) -> None:
        self._version += 1
        self._changed.notify_all()

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_S)
            with self._changed:
                entries = list(self._open)
            for entry in entries:
                try:
                    why = self._why(entry.session)
                except Exception:
                    # A table that cannot be read for a moment ends nobody's session, and not this thread.
                    log.exception("sessions cannot be judged")
                    continue
                if why is not None:
                    # One that is slow to end keeps nobody else in.
                    threading.Thread(target=entry.close, args=(why,), name="session-end", daemon=True).start()
                else:
                    self._uses.note(entry.session.instance, entry.session.generation)

    def _why(self, session: Session) -> str | None:
        if session.until < time.time():
            return "expired"
        return self._standing.refusal(session, self._standing.row(session.instance))
