"""The master that the boxes of a lab join: one that runs already, or one that the lab starts for itself.

Both are spoken to by their own command line; the lab imports nothing of the master.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.addresses import is_everywhere, is_loopback
from common.errors import BadInput
from common.settings import Settings
from workers.lab.commands import OPENRAAS, run, tail
from workers.lab.errors import LabError
from workers.lab.plan import LabState, MasterRef, Node, ProcessMark
from workers.lab.processes import node_environment, start_inside, wait_for

OWN_NAME = "master"
OWN_NUMBER = 2
WEB_PORT = 8080
READY_S = 120.0
COMMAND_S = 60.0
ANSWER_S = 2.0


def running(settings: Settings, host_address: str) -> MasterRef:
    """The master of these settings; raises BadInput if no other machine could reach it."""
    if is_loopback(settings.listen):
        raise BadInput(
            f"The master listens on {settings.listen}, where no box of a lab can reach it.",
            field="listen",
            remedy="Start it with openraas up --listen ADDRESS, or let the lab have one: lab up --own-master.",
        )
    host = host_address if is_everywhere(settings.listen) else settings.listen
    variables = {
        "OPENRAAS_STATE_DIR": str(settings.state_dir),
        "OPENRAAS_LISTEN": settings.listen,
        "OPENRAAS_WEB_PORT": str(settings.web_port),
    }
    return MasterRef(
        address=f"{host}:{settings.web_port}", state_dir=settings.state_dir, settings=variables, own=False
    )


def own(state: LabState, node: Node, chosen: Mapping[str, str]) -> MasterRef:
    """The master that this lab starts, with settings that somebody chose."""
    state_dir = state.node_dir(node) / "state"
    variables = {f"OPENRAAS_{name.upper()}": value for name, value in chosen.items()}
    variables |= {"OPENRAAS_STATE_DIR": str(state_dir), "OPENRAAS_LISTEN": state.address(node)}
    return MasterRef(
        address=f"{state.address(node)}:{WEB_PORT}", state_dir=state_dir, settings=variables, own=True
    )


def log_path(state: LabState, node: Node) -> Path:
    """Where the lab's own master writes what it says."""
    return state.node_dir(node) / "master.log"


def start(state: LabState, node: Node, init: ProcessMark) -> subprocess.Popen[bytes]:
    """Start the lab's own master; `Master.wait_ready` tells when boxes may join."""
    assert state.master is not None  # noqa: S101 - noted before its node is started
    argv = [*OPENRAAS, "up", "--no-box"]
    return start_inside(init, argv, log_path(state, node), state.master.settings)


class Master:
    """What a lab asks of a master, by its command line."""

    def __init__(self, state: LabState) -> None:
        if state.master is None:
            raise LabError(f"The lab {state.lab} has no master yet.", remedy="Remove it: openraas lab down.")
        self._ref = state.master
        # Without a home for sign-ins: the master to which somebody is signed in may be another one.
        signed_in = {"XDG_CONFIG_HOME": str(state.state_dir / "config")}
        self.environment = {**node_environment(), **self._ref.settings, **signed_in}

    @property
    def address(self) -> str:
        """HOST:PORT of its web."""
        return self._ref.address

    def command(self, *arguments: str) -> Any:
        """What `openraas … --json` says on the master's side."""
        return json.loads(run(*OPENRAAS, *arguments, "--json", env=self.environment, timeout_s=COMMAND_S))

    def check(self) -> None:
        """Raises LabError that says why if the master does not answer."""
        self.command("box", "list")

    def wait_ready(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Wait until a master that was just started takes requests; raises LabError with the end of its log."""
        host, _, port = self.address.rpartition(":")

        def ready() -> bool:
            if process.poll() is not None:
                raise LabError(f"The lab's master ended: {tail(log, 20)}")
            try:
                if _takes_connections(host, int(port)):
                    self.check()
                    return True
            except LabError as error:
                problem[:] = [str(error)]
            return False

        problem: list[str] = []
        try:
            wait_for(ready, READY_S, f"The master at {self.address} did not answer")
        except LabError as error:
            raise LabError(f"{error.message} {' '.join(problem)} {tail(log, 20)}") from error

    def token(self) -> str:
        """A one-time token with which one box joins."""
        return str(self.command("box", "token")["token"])

    def online(self) -> set[str]:
        """The boxes that the master sees and whose servers answer."""
        return {
            str(row["id"]) for row in self.command("box", "list") if row["up"] and _answers(row["status"])
        }

    def remove(self, box: str) -> None:
        """Let the master forget a box."""
        self.command("box", "remove", box, "--force")


def _answers(status: dict[str, Any]) -> bool:
    """Whether every server that a box's status names takes connections."""
    for endpoint in (status["front"], status["filestore"]):
        if endpoint is not None and not _takes_connections(endpoint["host"], endpoint["port"]):
            return False
    return True


def _takes_connections(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=ANSWER_S).close()
    except OSError:
        return False
    return True
