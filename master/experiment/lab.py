"""A lab for a scenario, by the command line that people use: made, spoken to, and taken down whatever happens."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from common.supervision import openraas
from master.cli.client import Client
from master.cli.target import Target
from master.experiment.errors import ExperimentError
from master.paths import MasterPaths
from master.simulation.scenario import Kind, Scenario

UP_S, DOWN_S, VERB_S = 300.0, 120.0, 600.0
# How long that may take.
UNDO_S = 120.0

Say = Callable[[str], None]


class RunningLab:
    """A lab that is up. `boxes` gives each box of the scenario its name in the lab."""

    def __init__(self, name: str, boxes: Mapping[str, str], state_dir: Path) -> None:
        self.name, self.boxes = name, boxes
        self._paths = MasterPaths(state_dir)
        # Without a home for sign-ins: the master to which somebody is signed in may be another one.
        self._environment = {
            **os.environ,
            "OPENRAAS_STATE_DIR": str(state_dir),
            "XDG_CONFIG_HOME": str(state_dir / "experiment"),
        }

    def client(self) -> Client:
        """REST calls to the lab's master, as its operator."""
        return Client(
            Target(
                server=self._paths.portal_url.read_text().strip(),
                token=self._paths.cli_token.read_text().strip(),
                authority=self._paths.authority.read_text(),
            )
        )

    def verb(self, *arguments: str) -> str:
        """What a verb of the command line says to the lab's master; raises ExperimentError."""
        return _run(arguments, VERB_S, self._environment)


@contextmanager
def running_lab(scenario: Scenario, holders: set[str], say: Say) -> Iterator[RunningLab]:
    """A lab with the boxes of a scenario, of which `holders` hold layers from the start."""
    name = f"x{secrets.token_hex(2)}"
    boxes = {box: f"{name}-{number + 1}" for number, box in enumerate(scenario.boxes)}
    try:
        say(f"Making the lab {name}, boxes: {len(boxes)}")
        made = json.loads(_run(["lab", "up", "--lab", name, *up_arguments(scenario, holders)], UP_S))
        yield RunningLab(name, boxes, Path(made["master"]["state_dir"]))
    finally:
        say(f"Taking down the lab {name}")
        _take_down(name)


def up_arguments(scenario: Scenario, holders: set[str]) -> list[str]:
    """What `openraas lab up` is asked for. Pure."""
    boxes = scenario.boxes
    settings = {"copies": "1", "policy": scenario.lab.policy, **scenario.lab.settings}
    chosen = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    each = [word for kind in boxes.values() for word in ("--each", _join_options(kind))]
    return [
        "--boxes", str(len(boxes)),
        "--roles", ",".join(_roles(name, kind, holders) for name, kind in boxes.items()),
        "--uplink", ",".join(f"{kind.link_bps.mean:.0f}bit" for kind in boxes.values()),
        "--delay", ",".join(f"{kind.access_ms.mean:g}ms" for kind in boxes.values()),
        *each, *chosen, "--own-master", "--json",
    ]  # fmt: skip


def _roles(name: str, kind: Kind, holders: set[str]) -> str:
    roles = ["compute"] * computes(kind) + ["filestore"] * kind.stores_files
    # Every box serves the layers that it fetched; who holds some from the start keeps them for good.
    return "+".join(roles + ["depository"] * (name in holders or not roles))


def computes(kind: Kind) -> bool:
    """Whether a box of a scenario runs containers."""
    return kind.open > 0 and kind.fixed > 0 and kind.compute.mean > 0


def _join_options(kind: Kind) -> str:
    options = [f"--lent {kind.disk_bytes.mean:.0f}"]
    if computes(kind):
        options.append(f"--cpu {kind.compute.mean:g}")
    if kind.memory_bytes.mean:
        options.append(f"--memory {kind.memory_bytes.mean:.0f}")
    return " ".join(options)


def _run(arguments: Sequence[str], limit_s: float, environment: Mapping[str, str] | None = None) -> str:
    """Standard output of a verb. It runs apart from the terminal: Ctrl-C asks it to end, and waits until it has."""
    process = subprocess.Popen(
        openraas(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        out, problem = process.communicate(timeout=limit_s)
    except BaseException as error:
        _end(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise ExperimentError(f"openraas {_shown(arguments)} took more than {limit_s:.0f} s.") from error
        raise
    if process.returncode:
        why = problem.strip().removeprefix("openraas: ")[-800:]
        raise ExperimentError(f"openraas {_shown(arguments)} failed: {why}")
    return out


def _end(process: subprocess.Popen[str]) -> None:
    # `lab up` undoes what it made, as for Ctrl-C (which a process in the background may ignore).
    process.terminate()
    try:
        process.communicate(timeout=UNDO_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _take_down(name: str) -> None:
    """Also where `lab up` did not get far; a second Ctrl-C does not keep it from being removed."""
    if name not in json.loads(_run(["lab", "list", "--json"], VERB_S)):
        return
    before = signal.getsignal(signal.SIGINT)
    with suppress(ValueError):  # only the main thread may
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _run(["lab", "down", "--lab", name], DOWN_S)
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, before)


def _shown(arguments: Sequence[str]) -> str:
    return " ".join(arguments[:3])
