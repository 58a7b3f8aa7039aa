"""What `openraas status` tells: the programs of this machine, and whether the platform can do its work."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import redis
from rich.console import Console
from rich.table import Table

from common.cli import print_json
from common.errors import OpenRaaSError
from common.redis_client import connect
from common.settings import Settings
from common.supervision import Supervisor
from master.boxes.services import statuses
from master.context import MasterPaths, redis_url
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
        found = statuses(client)
    except (OpenRaaSError, redis.RedisError) as error:
        return [Line("fleet", "redis", False, str(error))]
    lines = [Line("fleet", "redis", True, "answers")]
    for box, status in sorted(found.items()):
        roles = ", ".join(sorted(status.roles))
        lines.append(Line("fleet", box, True, f"{roles}; {status.instances} instances"))
    return lines


def show(found: Status, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        print_json({"good": found.is_good, "parts": [asdict(line) for line in found.lines]})
        return
    table = Table("Part", "Name", "", "State", box=None, pad_edge=False)
    for line in found.lines:
        table.add_row(line.part, line.name, "[green]✓[/]" if line.good else "[red]✗[/]", line.state)
    Console().print(table)
