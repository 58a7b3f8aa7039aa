"""Reports leave through a thread of their own: no start and no stop waits for Redis."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

from common.logs import get_logger
from common.reports import Report

if TYPE_CHECKING:  # the front shares modules with roles, and is to stay small
    from workers.box.reporter import Reporter

log = get_logger(__name__)

# A fact that the master was told already is repeated at most so often, however often a box is woken.
REPEAT_S = 10.0


class Outbox:
    """Sends reports in the order in which they were given."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._waiting: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._told: dict[tuple[str, str, int, str], float] = {}
        threading.Thread(target=self._run, name="outbox", daemon=True).start()

    def send(self, report: Report, about: str = "") -> None:
        """Tell the master something new; `about` tells apart facts of one kind and subject."""
        self._told[_key(report, about)] = time.monotonic()
        self._waiting.put(report)

    def repeat(self, report: Report, about: str = "") -> None:
        """Tell a fact again, unless it was told a moment ago."""
        told = self._told.get(_key(report, about))
        if told is None or time.monotonic() - told >= REPEAT_S:
            self.send(report, about)

    def forget(self, subject: str) -> None:
        """The subject is gone: remember nothing of it."""
        for key in [key for key in self._told if key[0] == subject]:
            self._told.pop(key, None)

    def _run(self) -> None:
        while True:
            report = self._waiting.get()
            try:
                self._reporter.send(report)
            except Exception:
                # No thread but this one tells the master anything: it goes on, and says what went wrong.
                log.exception("report not sent", kind=report.kind, subject=report.subject)


def _key(report: Report, about: str) -> tuple[str, str, int, str]:
    return (report.subject, report.kind, report.generation, about)
