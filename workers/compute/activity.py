"""Whether somebody uses what runs here: by open connections, by requests at the gateway, and by the processor.

The worker looks at the kernel's table of connections every few seconds, and asks the engine only of instances to
which nobody is connected. The front notes requests, for those that are over between two looks. Reports say how
long nobody has used each; what follows from that is the master's business.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET, inet_ntop

from common.logs import get_logger
from common.reports import Activity
from workers.box.table import Table
from workers.compute.engine import Engine
from workers.compute.errors import EngineError
from workers.compute.instances import InstanceRow, Instances, Stage
from workers.compute.outbox import Outbox

log = get_logger(__name__)

LOOK_EVERY_S = 5.0
CPU_EVERY_S = 30.0
# An engine takes up to a second to answer for one container.
CPU_AT_ONCE = 2
REPORT_EVERY_S = 30.0
# Of what an idle application takes: an open notebook that computes nothing stays below.
BUSY_CORES = 0.1
# A request is noted at most so often.
NOTE_EVERY_S = 5.0
SUBJECT = "box"

_ESTABLISHED = "01"
_SCHEMA = """CREATE TABLE IF NOT EXISTS activity (
    instance TEXT NOT NULL, generation INTEGER NOT NULL, used_at REAL NOT NULL, PRIMARY KEY (instance, generation))"""


class UseTable:
    """When each instance was last used (Unix time); worker and front share it."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._noted: dict[tuple[str, int], float] = {}
        table.create(_SCHEMA)

    def note(self, instance: str, generation: int) -> None:
        """It is used now."""
        now, key = time.time(), (instance, generation)
        if now - self._noted.get(key, 0.0) < NOTE_EVERY_S:
            return
        self._noted = {key: at for key, at in self._noted.items() if now - at < NOTE_EVERY_S} | {key: now}
        self._table.write(
            "INSERT INTO activity VALUES (?, ?, ?) "
            "ON CONFLICT (instance, generation) DO UPDATE SET used_at = excluded.used_at",
            (instance, generation, now),
        )

    def all(self) -> dict[tuple[str, int], float]:
        """By instance and generation."""
        rows = self._table.all("SELECT * FROM activity")
        return {(row["instance"], row["generation"]): row["used_at"] for row in rows}

    def keep_only(self, known: set[tuple[str, int]]) -> None:
        """Forget what is over."""
        for instance, generation in self.all().keys() - known:
            self._table.write(
                "DELETE FROM activity WHERE instance = ? AND generation = ?", (instance, generation)
            )


@dataclass
class _Cpu:
    at: float
    used_s: float


class Watch:
    """One per worker."""

    def __init__(self, table: Table, instances: Instances, engine: Engine, outbox: Outbox) -> None:
        self._uses = UseTable(table)
        self._instances = instances
        self._engine = engine
        self._outbox = outbox
        self._cpu: dict[str, _Cpu] = {}
        self._looked_at = self._told_at = float("-inf")

    def look(self) -> None:
        """Note what is used now, and tell the master now and then."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        running = [row for row in self._instances.held() if row.state is Stage.RUNNING]
        connected = connections(Path("/proc/net/tcp").read_text())
        alone = [row for row in running if (row.address, row.port) not in connected]
        busy = [row for row in self._next(alone, now) if self._computes(row, now)]
        for row in [row for row in running if row not in alone] + busy:
            self._uses.note(row.instance, row.generation)
        if running and now - self._told_at >= REPORT_EVERY_S:
            self._told_at = now
            self._tell(running)

    def _tell(self, running: list[InstanceRow]) -> None:
        self._uses.keep_only({(row.instance, row.generation) for row in running})
        self._cpu = {row.container: self._cpu[row.container] for row in running if row.container in self._cpu}
        uses, now = self._uses.all(), time.time()
        idle_s = {}
        for row in running:
            key = (row.instance, row.generation)
            if key not in uses:
                self._uses.note(*key)  # from its start on
            idle_s[row.instance] = max(0.0, now - uses.get(key, now))
        self._outbox.send(Activity(subject=SUBJECT, generation=0, idle_s=idle_s))

    def _next(self, rows: list[InstanceRow], now: float) -> list[InstanceRow]:
        """Of whom the engine is asked now: those of whom it was not asked for the longest time."""
        asked = {row.instance: self._cpu[row.container].at for row in rows if row.container in self._cpu}
        due = [row for row in rows if now - asked.get(row.instance, float("-inf")) >= CPU_EVERY_S]
        return sorted(due, key=lambda row: asked.get(row.instance, float("-inf")))[:CPU_AT_ONCE]

    def _computes(self, row: InstanceRow, now: float) -> bool:
        """Whether it took more than little since the engine was asked last."""
        if row.container is None:
            return False
        before = self._cpu.get(row.container)
        try:
            used_s = self._engine.cpu_s(row.container)
        except EngineError as error:
            log.warning("processor time not asked", instance=row.instance, error=str(error))
            return True  # nobody is stopped for what is not known
        self._cpu[row.container] = _Cpu(now, used_s)
        return before is not None and (used_s - before.used_s) / (now - before.at) > BUSY_CORES


def connections(text: str) -> set[tuple[str, int]]:
    """The far ends of established connections in the kernel's table (proc(5), /proc/net/tcp)."""
    found = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _ESTABLISHED:
            address, _, port = fields[2].partition(":")
            # The kernel prints the address as a number of this machine's byte order.
            packed = int(address, 16).to_bytes(4, "little")
            found.add((inet_ntop(AF_INET, packed), int(port, 16)))
    return found
