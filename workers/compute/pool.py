"""Prewarmed instances of this box: whose each is stands in this table, and what belongs to them lies beside it.

A prewarmed instance is a row of `instances` with a name of its own, and holds its room and network like any other.
Handing over is one transaction: the new owner's row gets container, network and address, and the other row goes.
A container's labels never change, so they say nothing of ownership. What had an owner never comes back.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable

from common.status import MOST_PREWARMED
from common.words import Resources
from workers.box.config import BoxPaths
from workers.box.table import Table
from workers.compute.handover import Handovers
from workers.compute.instances import PREFIX, InstanceRow, Instances, Stage
from workers.compute.places import Places

_SCHEMA = """CREATE TABLE IF NOT EXISTS prewarmed (
    name TEXT PRIMARY KEY, subject TEXT NOT NULL, likeness TEXT NOT NULL, owner TEXT, generation INTEGER)"""


class Pool:
    """All prewarmed instances, and those that were."""

    def __init__(self, table: Table, paths: BoxPaths, instances: Instances) -> None:
        self._table = table
        self._instances = instances
        self.places = Places(paths.places)
        self.handovers = Handovers(paths.handovers)
        table.create(_SCHEMA)

    def add(self, subject: str, likeness: str, resources: Resources, room: Resources) -> InstanceRow | None:
        """A new one that is to be made; none if it does not fit beside all that is here."""
        name = PREFIX + secrets.token_hex(6)
        with self._table.transaction() as connection:
            held = self._instances.held()
            if not sum((row.resources for row in held), resources).fits(room):
                return None
            connection.execute(
                "INSERT INTO instances (instance, generation, deployment, state, resources, changed_at) "
                "VALUES (?, 0, ?, ?, ?, ?)",
                (name, name, Stage.WARMING, resources.model_dump_json(), time.time()),
            )
            connection.execute(
                "INSERT INTO prewarmed (name, subject, likeness) VALUES (?, ?, ?)", (name, subject, likeness)
            )
        return self._instances.get(name)

    def of(self, subject: str) -> list[tuple[InstanceRow, str]]:
        """Those without an owner that one wish asked for, each with its likeness; the oldest first."""
        rows = self._table.all(
            "SELECT name, likeness FROM prewarmed WHERE subject = ? AND owner IS NULL ORDER BY rowid",
            (subject,),
        )
        found = [(self._instances.get(row["name"]), str(row["likeness"])) for row in rows]
        return [(row, likeness) for row, likeness in found if row is not None]

    def ready(self) -> dict[str, int]:
        """How many wait, by the subject of the wish for them."""
        rows = self._table.all(
            "SELECT subject, count(*) AS n FROM prewarmed JOIN instances ON instance = name "
            "WHERE owner IS NULL AND state = ? GROUP BY subject LIMIT ?",
            (Stage.WARM, MOST_PREWARMED),
        )
        return {str(row["subject"]): int(row["n"]) for row in rows}

    def noted(self, row: InstanceRow, container: str) -> bool:
        """Its container is made."""
        return self._instances.move(row, Stage.WARMING, Stage.WARMING, "container = ?", (container,))

    def waits(self, row: InstanceRow) -> bool:
        """It is loaded and paused: whoever comes first gets it."""
        return self._instances.move(row, Stage.WARMING, Stage.WARM, "", ())

    def take(self, row: InstanceRow, likeness: str) -> bool:
        """Make an instance that is being prepared the owner of one that waits; False if there is none for it."""
        with self._table.transaction() as connection:
            found = connection.execute(
                "SELECT name, container, network, address FROM prewarmed JOIN instances ON instance = name "
                "WHERE likeness = ? AND owner IS NULL AND state = ? ORDER BY prewarmed.rowid LIMIT 1",
                (likeness, Stage.WARM),
            ).fetchone()
            if found is None or not _gets(connection, row, found):
                return False
            connection.execute(
                "UPDATE prewarmed SET owner = ?, generation = ? WHERE name = ?",
                (row.instance, row.generation, found["name"]),
            )
            connection.execute("DELETE FROM instances WHERE instance = ?", (found["name"],))
        return True

    def name_of(self, row: InstanceRow) -> str | None:
        """The prewarmed instance that this one is or took over, if any."""
        if row.is_warm:
            return row.instance
        found = self._table.one(
            "SELECT name FROM prewarmed WHERE owner = ? AND generation = ?", (row.instance, row.generation)
        )
        return str(found["name"]) if found is not None else None

    def subject_of(self, row: InstanceRow) -> str | None:
        """The wish that asked for it."""
        found = self._table.one("SELECT subject FROM prewarmed WHERE name = ?", (row.instance,))
        return str(found["subject"]) if found is not None else None

    def clear(self, row: InstanceRow) -> None:
        """The container is gone: so is what was bound into it."""
        if (name := self.name_of(row)) is not None:
            self.handovers.clear(name)
            self.places.clear(name)
            self._table.write("DELETE FROM prewarmed WHERE name = ?", (name,))

    def surplus(self, room: Resources) -> list[InstanceRow]:
        """Those that have to go so that all that has an owner has room; the youngest first."""
        held = self._instances.held()
        used = sum((row.resources for row in held), Resources())
        gone: list[InstanceRow] = []
        for row in sorted((row for row in held if row.is_waiting), key=lambda row: row.instance):
            if used.fits(room):
                break
            gone.append(row)
            used = sum((item.resources for item in held if item not in gone), Resources())
        return gone

    def adopt(self, undo: Callable[[InstanceRow], object]) -> None:
        """After a restart: what was being made is undone, and what belongs to nobody is cleared."""
        for row in self._instances.held():
            if row.state is Stage.WARMING:
                undo(row)
        known = {str(row["name"]) for row in self._table.all("SELECT name FROM prewarmed")}
        self.places.keep_only(known)
        self.handovers.keep_only(known)


def _gets(connection: sqlite3.Connection, row: InstanceRow, found: sqlite3.Row) -> bool:
    """Container, address and network become an instance's, if it is still prepared and has no network yet."""
    has_network = connection.execute(
        "SELECT 1 FROM networks WHERE deployment = ?", (row.deployment,)
    ).fetchone()
    if has_network is not None:
        return False
    changed = connection.execute(
        "UPDATE instances SET container = ?, network = ?, address = ? "
        "WHERE instance = ? AND generation = ? AND state = ?",
        (
            found["container"],
            found["network"],
            found["address"],
            row.instance,
            row.generation,
            Stage.PREPARING,
        ),
    )
    connection.execute(
        "UPDATE networks SET deployment = ? WHERE name = ? AND ?",
        (row.deployment, found["network"], changed.rowcount),
    )
    return changed.rowcount == 1
