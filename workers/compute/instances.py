"""The box's own table of instances: what runs here, whatever wishes say. The gateway reads it too."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter

from common.access import WEB, Access, Way
from common.reports import Reason
from common.units import show_size
from common.warm import SUBJECT
from common.words import Resources
from workers.box.room import NoRoom
from workers.box.table import Table

_SCHEMA = """CREATE TABLE IF NOT EXISTS instances (
    instance TEXT PRIMARY KEY, generation INTEGER NOT NULL, deployment TEXT NOT NULL, state TEXT NOT NULL,
    resources TEXT NOT NULL, container TEXT, network TEXT, address TEXT, port INTEGER, ready_by REAL,
    exit_code INTEGER, reason TEXT, message TEXT, changed_at REAL NOT NULL, access TEXT)"""

_ACCESS: TypeAdapter[Way] = TypeAdapter(Access)


# Of the names of prewarmed instances; no instance of the master is called so.
PREFIX = "warm-"


class Stage(StrEnum):
    """How far an instance is on this box."""

    WARMING = "warming"  # nobody's yet: a container that is being made ready
    WARM = "warm"  # nobody's yet: it waits, paused
    PREPARING = "preparing"  # image, network and mounts are being had
    STARTING = "starting"  # the container runs; its port is asked
    RUNNING = "running"
    ENDING = "ending"  # to be undone; how it ends stands in exit_code, reason and message
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left on this box."""
        return self in (Stage.STOPPED, Stage.FAILED)


WAITING = (Stage.WARMING, Stage.WARM)
LIVE = (Stage.PREPARING, Stage.STARTING, Stage.RUNNING)
# What nobody holds: instances that are over, and prewarmed ones, which make room for whoever asks.
_FREE = (Stage.STOPPED, Stage.FAILED, *WAITING)


@dataclass(frozen=True)
class InstanceRow:
    """One instance, as the table has it."""

    instance: str
    generation: int
    deployment: str
    state: Stage
    resources: Resources
    container: str | None
    network: str | None
    address: str | None
    port: int | None
    ready_by: float | None
    exit_code: int | None
    reason: Reason | None
    message: str | None
    access: Way = WEB

    @property
    def is_warm(self) -> bool:
        """Whether it is a prewarmed one that has, or had, no owner."""
        return self.instance.startswith((PREFIX, SUBJECT))

    @property
    def is_waiting(self) -> bool:
        """Whether nobody owns it yet."""
        return self.state in WAITING

    @classmethod
    def nobody(cls, name: str, generation: int) -> InstanceRow:
        """One that is in no table: it waits for an image on behalf of those that are to come."""
        return cls(
            instance=name,
            generation=generation,
            deployment=name,
            state=Stage.WARMING,
            resources=Resources(),
            container=None,
            network=None,
            address=None,
            port=None,
            ready_by=None,
            exit_code=None,
            reason=None,
            message=None,
        )

    @property
    def upstream(self) -> str | None:
        """Where the gateway sends requests, while it may."""
        if self.state is not Stage.RUNNING or self.port is None or self.address is None:
            return None
        return f"{self.address}:{self.port}"


class Instances:
    """Access to the table. Changes of state are conditional: of two threads that want one, one gets it."""

    def __init__(self, table: Table) -> None:
        self._table = table
        table.create(_SCHEMA)
        table.add_column("instances", "access", "TEXT")

    def get(self, instance: str) -> InstanceRow | None:
        """The instance, if this box knows it."""
        row = self._table.one("SELECT * FROM instances WHERE instance = ?", (instance,))
        return _read(row) if row is not None else None

    def all(self) -> list[InstanceRow]:
        """Every instance that this box knows, also those that are over."""
        return [_read(row) for row in self._table.all("SELECT * FROM instances ORDER BY instance")]

    def held(self) -> list[InstanceRow]:
        """Instances of which something may be left on this box."""
        return [row for row in self.all() if not row.state.is_over]

    def admit(
        self,
        instance: str,
        generation: int,
        deployment: str,
        wanted: Resources,
        room: Resources,
        *,
        take_disk: Callable[[], None] = lambda: None,
    ) -> InstanceRow:
        """Take an instance in if it fits beside what is held, else note that it failed with `no-room`.

        `take_disk` is called last, within the transaction, and raises NoRoom if the disk has no place for it.

        The sum of what is held never exceeds `room`. A refusal stands, also when there is room later: the
        master gives this generation up and places another.
        """
        with self._table.transaction() as connection:
            rows = connection.execute(
                "SELECT resources FROM instances WHERE state NOT IN (?, ?, ?, ?) AND instance != ?",
                (*_FREE, instance),
            ).fetchall()
            used = sum((Resources.model_validate_json(row["resources"]) for row in rows), Resources())
            refusal = _refusal(used, wanted, room, take_disk)
            connection.execute(
                "INSERT OR REPLACE INTO instances "
                "(instance, generation, deployment, state, resources, changed_at, reason, message) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    instance,
                    generation,
                    deployment,
                    Stage.FAILED if refusal else Stage.PREPARING,
                    wanted.model_dump_json(),
                    time.time(),
                    "no-room" if refusal else None,
                    refusal,
                ),
            )
            row = connection.execute("SELECT * FROM instances WHERE instance = ?", (instance,)).fetchone()
        return _read(row)

    def place_on(self, row: InstanceRow, network: str, addresses: list[str]) -> str | None:
        """The instance's address on the network, else the first that is free; none if all are taken."""
        with self._table.transaction() as connection:
            mine = connection.execute(
                "SELECT address FROM instances WHERE instance = ? AND generation = ? AND network = ?",
                (row.instance, row.generation, network),
            ).fetchone()
            if mine is not None and mine["address"] is not None:
                return str(mine["address"])
            taken = {
                other["address"]
                for other in connection.execute(
                    "SELECT address FROM instances WHERE network = ? AND address IS NOT NULL", (network,)
                )
            }
            free = next((address for address in addresses if address not in taken), None)
            if free is not None:
                connection.execute(
                    "UPDATE instances SET network = ?, address = ? WHERE instance = ? AND generation = ?",
                    (network, free, row.instance, row.generation),
                )
        return free

    def started(
        self, row: InstanceRow, container: str, port: int | None, ready_by: float, access: Way = WEB
    ) -> bool:
        """The container runs; its port is to be asked."""
        return self._step(
            row,
            (Stage.PREPARING,),
            Stage.STARTING,
            "container = ?, port = ?, ready_by = ?, access = ?",
            (container, port, ready_by, access.model_dump_json()),
        )

    def ready(self, row: InstanceRow) -> bool:
        """Its port answered."""
        return self._step(row, (Stage.STARTING,), Stage.RUNNING)

    def end(
        self,
        row: InstanceRow,
        *,
        exit_code: int | None = None,
        reason: Reason | None = None,
        message: str | None = None,
    ) -> bool:
        """It is to be undone. The first reason counts; returns whether it was this one."""
        values = (exit_code, reason, message)
        return self._step(
            row, (*WAITING, *LIVE), Stage.ENDING, "exit_code = ?, reason = ?, message = ?", values
        )

    def ended(self, row: InstanceRow) -> InstanceRow | None:
        """Nothing is left; returns how it ended."""
        after = Stage.FAILED if row.reason is not None else Stage.STOPPED
        cleared = "container = NULL, network = NULL, address = NULL, port = NULL, ready_by = NULL"
        self._step(row, (Stage.ENDING,), after, cleared)
        return self.get(row.instance)

    def without_container(self, row: InstanceRow) -> None:
        """The container that it took over is gone: it gets one of its own."""
        self._table.write(
            "UPDATE instances SET container = NULL WHERE instance = ? AND generation = ? AND state = ?",
            (row.instance, row.generation, Stage.PREPARING),
        )

    def leave_network(self, row: InstanceRow) -> None:
        """Its address is free again."""
        self._table.write(
            "UPDATE instances SET network = NULL, address = NULL WHERE instance = ? AND generation = ?",
            (row.instance, row.generation),
        )

    def on_network(self, network: str) -> bool:
        """Whether an instance has an address there."""
        return self._table.one("SELECT 1 FROM instances WHERE network = ?", (network,)) is not None

    def forget(self, instance: str) -> None:
        """Drop what is over."""
        self._table.write(
            "DELETE FROM instances WHERE instance = ? AND state IN (?, ?)",
            (instance, Stage.STOPPED, Stage.FAILED),
        )

    def move(
        self, row: InstanceRow, before: Stage, after: Stage, also: str, values: tuple[object, ...]
    ) -> bool:
        """One step of a prewarmed instance; whether it was this one's turn."""
        return self._step(row, (before,), after, also, values)

    def _step(
        self,
        row: InstanceRow,
        before: tuple[Stage, ...],
        after: Stage,
        also: str = "",
        values: tuple[object, ...] = (),
    ) -> bool:
        # `also` is one of the literals above, never input.
        sets = f"state = ?, changed_at = ?{', ' + also if also else ''}"
        marks = ", ".join("?" for _ in before)
        sql = f"UPDATE instances SET {sets} WHERE instance = ? AND generation = ? AND state IN ({marks})"  # noqa: S608
        changed = self._table.write(sql, (after, time.time(), *values, row.instance, row.generation, *before))
        return changed == 1


def _refusal(
    used: Resources, wanted: Resources, room: Resources, take_disk: Callable[[], None]
) -> str | None:
    if not (used + wanted).fits(room):
        return f"The box has no room for {_show(wanted)} beside what runs here."
    try:
        take_disk()
    except NoRoom as error:
        return str(error)
    return None


def _show(wanted: Resources) -> str:
    return f"{wanted.cpu:g} cores, {show_size(wanted.memory_bytes)} of memory and {wanted.gpu} GPUs"


def _read(row: sqlite3.Row) -> InstanceRow:
    return InstanceRow(
        instance=row["instance"],
        generation=row["generation"],
        deployment=row["deployment"],
        state=Stage(row["state"]),
        resources=Resources.model_validate_json(row["resources"]),
        container=row["container"],
        network=row["network"],
        address=row["address"],
        port=row["port"],
        ready_by=row["ready_by"],
        exit_code=row["exit_code"],
        reason=row["reason"],
        message=row["message"],
        access=_ACCESS.validate_json(row["access"]) if row["access"] else WEB,
    )
