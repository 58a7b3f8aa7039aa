"""Processes told apart from later ones that happen to have the same number."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process by its number and its start, in clock ticks since boot (proc(5), `/proc/[pid]/stat`)."""

    pid: int
    started: int

    @classmethod
    def parse(cls, stat: str) -> Process | None:
        """The process in a line of `/proc/<pid>/stat`; the second field, its name, may hold spaces."""
        head, _, tail = stat.rpartition(")")
        fields = tail.split()
        try:
            return cls(int(head.split(" ", 1)[0]), int(fields[19]))
        except (ValueError, IndexError):
            return None

    @classmethod
    def find(cls, pid: int) -> Process | None:
        """The process that has this number now; none if it has ended."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if stat.rpartition(")")[2].split()[:1] == ["Z"] else cls.parse(stat)

    @property
    def lives(self) -> bool:
        """Whether this very process is still there."""
        return Process.find(self.pid) == self


def kill(process: Process, number: int) -> None:
    """Send a signal to this very process; one that has ended is left alone."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # The handle stays with the process it was opened for, so that what is checked is what is hit.
        if process.lives:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def running(program: str, argument: str) -> Process | None:
    """The process of `program` that has `argument` on its command line."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[0].rpartition("/")[2] == program and argument in words:
            return Process.find(int(entry.name))
    return None
