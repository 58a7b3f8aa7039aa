"""All shells of a box's instances: who asks for one gets it, what nobody needs any more is ended."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Sequence

from common.access import Way
from common.errors import Conflict, NotFound
from common.logs import get_logger
from workers.compute.execs import run_in, start_exec
from workers.compute.instances import InstanceRow
from workers.gateway.terminal.shell import Line, Shell

log = get_logger(__name__)

MOST_SHELLS = 8
TIDY_S = 5.0
# Between the question to end and the end itself, as everywhere in Unix.
KILL_S = 1
ENVIRONMENT = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
_BEGIN = 'printf "%s\\n" $$; export LANG="${LANG:-C.UTF-8}"; '
_USUAL = "command -v bash >/dev/null 2>&1 && exec bash; exec sh"
_KILL = "kill -HUP {pid} 2>/dev/null; sleep {wait}; kill -KILL {pid} 2>/dev/null"


def command(shell: Sequence[str] | None) -> list[str]:
    """What runs in the container: it tells its process number, and becomes the shell."""
    return ["/bin/sh", "-c", _BEGIN + (f"exec {shlex.join(shell)}" if shell else _USUAL)]


class Shells:
    """The shells of one front process, by instance."""

    def __init__(
        self,
        engines: Sequence[str],
        *,
        timeout_s: float,
        linger_s: float,
        is_current: Callable[[InstanceRow], bool],
    ) -> None:
        self._engines, self._timeout_s, self._linger_s = engines, timeout_s, linger_s
        self._is_current = is_current
        self._lock = threading.Lock()
        self._shells: dict[str, list[tuple[InstanceRow, Shell]]] = {}
        self._tidier: threading.Thread | None = None

    def of(self, row: InstanceRow) -> list[Shell]:
        """The instance's shells, the oldest first."""
        with self._lock:
            return [
                shell
                for owner, shell in self._shells.get(row.instance, ())
                if owner.generation == row.generation and not shell.is_over
            ]

    def find(self, row: InstanceRow, name: str) -> Shell:
        """One of the instance's shells. Raises NotFound."""
        for shell in self.of(row):
            if shell.id == name:
                return shell
        raise NotFound("This shell has ended.", remedy="Open a new window.")

    def start(self, row: InstanceRow, way: Way) -> Shell:
        """A new one. Raises Conflict if there are many already, EngineError if the container takes none."""
        if len(self.of(row)) >= MOST_SHELLS:
            raise Conflict(f"{MOST_SHELLS} windows are open already.", remedy="Close one of them.")
        shell = Shell(self._line(row, getattr(way, "shell", None)), lambda pid: self._kill(row, pid))
        with self._lock:
            self._shells.setdefault(row.instance, []).append((row, shell))
            if self._tidier is None:
                self._tidier = threading.Thread(target=self._tidy, name="shells", daemon=True)
                self._tidier.start()
        log.info("shell started", instance=row.instance)
        return shell

    def _line(self, row: InstanceRow, shell: Sequence[str] | None) -> Line:
        return start_exec(
            self._engines,
            row.container or "",
            command(shell),
            environment=ENVIRONMENT,
            timeout_s=self._timeout_s,
        )

    def _kill(self, row: InstanceRow, pid: int) -> None:
        script = _KILL.format(pid=pid, wait=KILL_S)
        run_in(self._engines, row.container or "", ["/bin/sh", "-c", script], timeout_s=self._timeout_s)

    def _tidy(self) -> None:
        while True:
            time.sleep(TIDY_S)
            try:
                self._look()
            except Exception:
                log.exception("shells are not tidied")

    def _look(self) -> None:
        with self._lock:
            known = [(row, shell) for shells in self._shells.values() for row, shell in shells]
        for row, shell in known:
            if not shell.is_over and (shell.idle_s() > self._linger_s or not self._is_current(row)):
                shell.end("Nobody looked at it for long.")
        with self._lock:
            alive = {
                instance: [(row, shell) for row, shell in shells if not shell.is_over]
                for instance, shells in self._shells.items()
            }
            self._shells = {instance: shells for instance, shells in alive.items() if shells}
