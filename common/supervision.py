"""Programs that are kept running, by supervisord; for the master and for a box alike.

Every program is started under `setpriv --pdeathsig TERM`, and so is supervisord itself: whoever ends, however
it ends, takes what it started along, and no orphan is left.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from common.errors import BadInput, OpenRaaSError, Unavailable
from common.files import write_atomically
from common.unix_http import MAX_PATH, UnixConnection

LOG_BYTES = 10 * 2**20
LOG_BACKUPS = 3
POLL_S = 0.05
RPC_TIMEOUT_S = 10.0
_MANY = 1_000_000


class ProgramFailed(OpenRaaSError):
    """A program ended although it should run."""


@dataclass(frozen=True)
class Program:
    """A program to be kept running. Programs of a lower `priority` start first and stop last."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    priority: int = 100
    stop_signal: str = "TERM"
    stop_wait_s: int = 10
    autostart: bool = True
    directory: Path | None = None


@dataclass(frozen=True)
class ProgramState:
    """What supervisord says of a program: RUNNING, STARTING, BACKOFF, STOPPING, EXITED, FATAL, STOPPED."""

    name: str
    state: str
    pid: int
    description: str

    @property
    def is_up(self) -> bool:
        """Whether it runs and has stayed up for its first moments."""
        return self.state == "RUNNING"

    @property
    def has_failed(self) -> bool:
        """Whether it ended at least once without being asked to."""
        return self.state in ("BACKOFF", "FATAL", "EXITED")


def with_parent(command: Sequence[str]) -> tuple[str, ...]:
    """The command, but asked to end (SIGTERM) when the process that starts it is gone."""
    return ("setpriv", "--pdeathsig", "TERM", "--", *command)


def openraas(*arguments: str) -> tuple[str, ...]:
    """Our own command line under this interpreter."""
    return (sys.executable, "-m", "common", *arguments)


_PLAIN = "Choose paths and options without quotes, line ends, and spaces before ; and #."


def _value(text: str) -> str:
    """A value as supervisord's ini dialect wants it: `%` is doubled, and nothing may look like a comment."""
    if "\n" in text or " ;" in text or " #" in text:
        raise BadInput(f"supervisord's configuration cannot hold {text!r}.", remedy=_PLAIN)
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    quote = '"' if '"' not in text else "'"
    # supervisord strips quotes of both kinds from both ends.
    if quote in text or text.strip("'\"") != text:
        raise BadInput(f"supervisord's configuration cannot hold {text!r}.", remedy=_PLAIN)
    return f"{quote}{_value(text)}{quote}"


def _section(program: Program, logs: Path) -> str:
    lines = {
        "command": _value(shlex.join(with_parent(program.command))),
        "priority": program.priority,
        "autostart": str(program.autostart).lower(),
        "autorestart": "true",
        "startsecs": 1,
        "startretries": _MANY,  # the pause grows by a second each time; giving up helps nobody
        "stopsignal": program.stop_signal,
        "stopwaitsecs": program.stop_wait_s,
        "redirect_stderr": "true",
        "stdout_logfile": _value(str(logs / f"{program.name}.log")),
        "stdout_logfile_maxbytes": LOG_BYTES,
        "stdout_logfile_backups": LOG_BACKUPS,
    }
    if program.directory is not None:
        lines["directory"] = _value(str(program.directory))
    if program.environment:
        lines["environment"] = ",".join(
            f"{key}={_quoted(value)}" for key, value in program.environment.items()
        )
    return f"[program:{program.name}]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())


def render(programs: Iterable[Program], *, run: Path, logs: Path) -> str:
    """The configuration of a supervisord that keeps `programs` running."""
    user = "user=root\n" if os.geteuid() == 0 else ""
    head = (
        f"[supervisord]\nnodaemon=true\n{user}pidfile={_value(str(run / 'supervisord.pid'))}\n"
        f"logfile={_value(str(logs / 'supervisord.log'))}\nlogfile_maxbytes={LOG_BYTES}\n"
        f"logfile_backups={LOG_BACKUPS}\nchildlogdir={_value(str(logs))}\nsilent=true\n\n"
        f"[unix_http_server]\nfile={_value(str(run / 'supervisor.sock'))}\nchmod=0600\n\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
    )
    return "\n".join([head, *(_section(program, logs) for program in programs)])


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> HTTPConnection:  # noqa: ARG002
        return UnixConnection(self._path, timeout_s=RPC_TIMEOUT_S)


class Supervisor:
    """One supervisord and its programs, under `run` (socket, configuration) and `logs`."""

    def __init__(self, run: Path, logs: Path) -> None:
        self.run = run
        self.logs = logs
        self.socket = run / "supervisor.sock"
        self.configuration = run / "supervisord.conf"
        self._process: subprocess.Popen[bytes] | None = None
        self._programs: tuple[Program, ...] = ()

    def prepare(self, programs: Iterable[Program]) -> tuple[str, ...]:
        """Write the configuration; returns the command that runs supervisord in the foreground."""
        if len(str(self.socket)) > MAX_PATH:
            raise BadInput(
                f"The path {self.socket} is too long for a Unix socket.",
                field="state_dir",
                remedy="Choose a state directory with a shorter path.",
            )
        for folder in (self.run, self.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(self.configuration, render(programs, run=self.run, logs=self.logs), mode=0o600)
        return (sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self.configuration))

    def start(self, programs: Iterable[Program], *, wait_s: float = 15.0) -> None:
        """Start supervisord as a child that ends with us; raises Unavailable if it does not come up."""
        self._programs = tuple(programs)
        command = with_parent(self.prepare(self._programs))
        # A session of its own: Ctrl-C in the terminal must reach us alone, so that things stop in order.
        with (self.logs / "supervisord.out").open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + wait_s
        while not self.is_running():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(
                    "supervisord did not start.", remedy=f"Look into {self.logs / 'supervisord.out'}."
                )
            time.sleep(POLL_S)

    def _call(self, method: str, *arguments: Any) -> Any:
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_UnixTransport(self.socket))
        with proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def is_running(self) -> bool:
        """Whether supervisord answers."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except (OSError, HTTPException, xmlrpc.client.Error):
            return False

    def states(self) -> dict[str, ProgramState]:
        """All programs by name; raises Unavailable if supervisord does not answer."""
        try:
            rows = self._call("getAllProcessInfo")
        except (OSError, HTTPException, xmlrpc.client.Error) as error:
            raise Unavailable(
                f"No supervisor answers on {self.socket}.", remedy="Run: openraas up."
            ) from error
        return {
            row["name"]: ProgramState(
                row["name"],
                row["statename"],
                row["pid"],
                row["spawnerr"] or row["description"],
            )
            for row in rows
        }

    def start_program(self, name: str) -> None:
        """Start a program that does not run; returns at once."""
        if not self.states()[name].is_up:
            self._call("startProcess", name, False)

    def stop_program(self, name: str) -> None:
        """Ask a program to end; returns at once."""
        if self.states()[name].state in ("RUNNING", "STARTING", "BACKOFF"):
            self._call("stopProcess", name, False)

    def wait(self, names: Iterable[str], *, limit_s: float = 30.0) -> None:
        """Until all of `names` run; raises ProgramFailed with the end of the log of one that does not."""
        waiting, deadline = set(names), time.monotonic() + limit_s
        while waiting:
            states = self.states()
            failed = next((states[name] for name in sorted(waiting) if states[name].has_failed), None)
            if failed is not None or time.monotonic() > deadline:
                raise self._failure(failed or states[min(waiting)])
            waiting = {name for name in waiting if not states[name].is_up}
            time.sleep(POLL_S)

    def _failure(self, state: ProgramState) -> ProgramFailed:
        log = self.logs / f"{state.name}.log"
        what = "ended" if state.has_failed else "did not start in time"
        tail = "\n".join(f"    {line}" for line in self.tail(state.name))
        return ProgramFailed(
            f"{state.name} {what} ({state.description}).", remedy=f"The end of {log}:\n{tail}"
        )

    def tail(self, name: str, lines: int = 12) -> list[str]:
        """The last lines of a program's log."""
        try:
            with (self.logs / f"{name}.log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
                return file.read().decode(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []

    def shutdown(self, *, limit_s: float) -> None:
        """Stop all programs, the highest priority number first, and supervisord; returns when it is gone.

        What does not end within `limit_s` is killed, and takes its programs along. A supervisord that
        somebody else started is left alone.
        """
        if self._process is None:
            return
        deadline = time.monotonic() + limit_s
        try:
            self._stop_all(deadline)
            self._call("shutdown")
        except (OSError, HTTPException, xmlrpc.client.Error, OpenRaaSError):
            self._process.terminate()
        try:
            self._process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _stop_all(self, deadline: float) -> None:
        """Stop programs of one priority at once; supervisord itself would end one after the other."""
        for priority in sorted({program.priority for program in self._programs}, reverse=True):
            names = {program.name for program in self._programs if program.priority == priority}
            for name in names:
                self.stop_program(name)
            while time.monotonic() < deadline and any(
                state.name in names and state.state in ("RUNNING", "STARTING", "STOPPING")
                for state in self.states().values()
            ):
                time.sleep(POLL_S)
