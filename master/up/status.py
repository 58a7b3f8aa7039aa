"""What `openraas status` tells: the programs of this machine, and whether the platform can do its work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import redis
from rich.console import Console
from rich.table import Table

from common.cli import print_json
from common.errors import OpenRaaSError
from common.names import BOXES
from common.redis_client import connect
from common.settings import Settings
from common.status import BoxStatus
from common.supervision import Supervisor
from master.boxes.services import statuses
from master.context import MasterPaths, redis_url
from master.lifecycle.silence import silent_key
from master.up.layout import Layout

TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Line:
    """One thing that should be well."""

    part: str
    name: str
    good: bool
    state: str


@dataclass(frozen=True)
class Status:
    """Everything that was looked at."""

    lines: list[Line] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing is down."""
        return bool(self.lines) and all(line.good for line in self.lines)


def look(settings: Settings) -> Status:
    """Ask the supervisors and Redis; each answers within its timeout or counts as down."""
    layout = Layout(settings.state_dir)
    lines = _programs("master", layout.supervisor())
    if layout.box_identity.exists():
        lines += _programs("box", layout.box_supervisor())
    return Status([*lines, *_fleet(settings)])


def _programs(part: str, supervisor: Supervisor) -> list[Line]:
    try:
        states = supervisor.states()
    except OpenRaaSError as error:
        return [Line(part, "supervisor", False, str(error))]
    return [
        Line(part, name, state.is_up, f"{state.state.lower()}: {state.description}")
        for name, state in sorted(states.items())
    ]


def _fleet(settings: Settings) -> list[Line]:
    try:
        url = redis_url(settings)
        client = connect(url, timeout_s=TIMEOUT_S, ca_file=str(MasterPaths(settings.state_dir).authority))
        joined = sorted(str(box) for box in client.smembers(BOXES))
        found = statuses(client)
        silent = client.mget([silent_key(box) for box in joined]) if joined else []
    except (OpenRaaSError, redis.RedisError) as error:
        return [Line("fleet", "redis", False, str(error))]
    return [Line("fleet", "redis", True, "answers"), *_boxes(joined, found, silent)]


def _boxes(
    joined: Sequence[str], found: Mapping[str, BoxStatus], silent: Sequence[str | bytes | None]
) -> Iterator[Line]:
    for box, since in zip(joined, silent, strict=True):
        if (status := found.get(box)) is not None:
            roles = ", ".join(sorted(status.roles))
            yield Line("fleet", box, True, f"{roles}; {status.instances} instances")
        else:
            long = f" for {time.time() - float(str(since)):.0f} s" if since is not None else ""
            yield Line("fleet", box, False, f"silent{long}: is it on, and does it reach this machine?")


def show(found: Status, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        print_json({"good": found.is_good, "parts": [asdict(line) for line in found.lines]})
        return
    table = Table("Part", "Name", "", "State", box=None, pad_edge=False)
    for line in found.lines:
        table.add_row(line.part, line.name, "[green]✓[/]" if line.good else "[red]✗[/]", line.state)
    Console().print(table)
