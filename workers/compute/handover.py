"""How a prewarmed container tells that it is loaded, and hears that it has an owner: two FIFOs, bound into it.

It writes to `ready`, then reads `go`: lines NAME=value, the owner's environment, and an empty line at the end.
What is written here waits in the FIFO while this process lives; after a restart it is written again, which does no
harm.
"""

from __future__ import annotations

import os
import select
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

VARIABLE = "OPENRAAS_HANDOVER"
TARGET = "/run/openraas"
READY, GO = "ready", "go"
# A FIFO takes so much at once without a reader (pipe(7), "Pipe capacity").
MOST_BYTES = 32 * 1024

# For applications that bring nothing of their own. The words after `sh` are the service's own command.
# An end without an empty line is that of a worker which was killed: the next one says everything again.
WAIT = (
    'echo >"$OPENRAAS_HANDOVER/ready"; heard=; '
    'while [ -z "$heard" ] && [ -p "$OPENRAAS_HANDOVER/go" ]; do '
    'while IFS= read -r line; do [ -n "$line" ] || { heard=1; break; }; export "$line"; done '
    '<"$OPENRAAS_HANDOVER/go"; done; '
    'unset heard line; exec "$@"'
)


def waiting_command(own: list[str] | None, command: list[str] | None) -> list[str] | None:
    """What a prewarmed container runs: the command made for it, or a shell that runs the service's afterwards."""
    if own is not None:
        return own
    return ["sh", "-c", WAIT, "sh", *command] if command is not None else None


def letter(environment: Mapping[str, str]) -> bytes | None:
    """The owner's environment as it is written to `go`; none if it cannot be said in lines."""
    if any("\n" in value for value in environment.values()):
        return None
    text = "".join(f"{name}={value}\n" for name, value in sorted(environment.items())) + "\n"
    content = text.encode()
    return content if len(content) <= MOST_BYTES else None


class Handovers:
    """The FIFOs of each prewarmed container, below a directory that only root may enter."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._open: dict[str, int] = {}

    def make(self, name: str) -> Path:
        """The directory to bind."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory = self._root / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o755)
        for fifo, mode in ((READY, 0o622), (GO, 0o644)):
            os.mkfifo(directory / fifo)
            (directory / fifo).chmod(mode)
        return directory

    def is_ready(self, name: str, *, wait_s: float) -> bool:
        """Whether the container says, within `wait_s`, that it is loaded."""
        # For reading and writing: to open it waits for nobody, and its end never shows (fifo(7)).
        fifo = os.open(self._root / name / READY, os.O_RDWR | os.O_NONBLOCK)
        try:
            poll = select.poll()  # as select(2), for descriptors of any number
            poll.register(fifo, select.POLLIN)
            return bool(poll.poll(wait_s * 1000))
        finally:
            os.close(fifo)

    def tell(self, name: str, content: bytes) -> None:
        """Say whose it is, once in this process's life."""
        with self._lock:
            if name in self._open:
                return
            fifo = os.open(self._root / name / GO, os.O_RDWR | os.O_NONBLOCK)
            self._open[name] = fifo
            os.write(fifo, content)

    def heard(self, name: str) -> None:
        """It runs, or has ended: nobody reads any more."""
        with self._lock, suppress(KeyError):
            os.close(self._open.pop(name))

    def keep_only(self, names: set[str]) -> None:
        """Clear what others than these had."""
        if self._root.is_dir():
            for directory in list(self._root.iterdir()):
                if directory.name not in names:
                    self.clear(directory.name)

    def clear(self, name: str) -> None:
        """The container is gone."""
        self.heard(name)
        shutil.rmtree(self._root / name, ignore_errors=True)
