"""Exports: which instance may use which fileset, and the fence that lets only one generation write.

Instances share a grant where they share a key: a read-only version is granted to a compute box, a home to one
instance under one fence. A grant lives for as long as an export uses it; keys come and go meanwhile.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from threading import Lock

from common.wishes import ExportWish
from common.words import MountMode
from workers.box.table import Table
from workers.filestore.errors import Fenced
from workers.filestore.protocols import Admission, FileServer, Grant, check_keys

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS fileset_grants (
        grant_name TEXT PRIMARY KEY, fileset TEXT NOT NULL, version INTEGER NOT NULL, mode TEXT NOT NULL,
        holder TEXT NOT NULL, fence INTEGER NOT NULL, tree TEXT NOT NULL, uid INTEGER NOT NULL,
        UNIQUE (fileset, version, mode, holder, fence))""",
    """CREATE TABLE IF NOT EXISTS fileset_exports (
        subject TEXT PRIMARY KEY, grant_name TEXT NOT NULL, generation INTEGER NOT NULL,
        lease_end REAL, public_keys TEXT NOT NULL)""",
    "CREATE TABLE IF NOT EXISTS fileset_fences (fileset TEXT PRIMARY KEY, fence INTEGER NOT NULL)",
)


class Exports:
    """The table of grants and exports, and a file server that follows it.

    Not to be called twice at once for one fileset.
    """

    def __init__(self, table: Table, server: FileServer) -> None:
        self._table = table
        self._server = server
        # Rows of exports that the server follows already, so that asking again costs nothing.
        self._settled: dict[str, tuple[object, ...]] = {}
        self._admitting = Lock()
        table.create(*_SCHEMA)

    def restore(self) -> None:
        """Make the server follow the table again, whatever a crash left. Sessions of standing grants go on."""
        for row in self._table.all("SELECT * FROM fileset_grants"):
            self._server.open(_grant(row["grant_name"], row["tree"], row["uid"], row["mode"]))
        self._collect()
        self._admit()

    def fence(self, wish: ExportWish) -> None:
        """Before a writer is let in: refuse it if a newer one was, else end all older ones for good.

        Raises Fenced, or StillThere if an older writer could not be ended: then the new one has to wait.
        """
        if wish.mode is not MountMode.READ_WRITE:
            return
        # The fence is raised before anything else, so that a crash after this line lets no older one in.
        self._table.write(
            "INSERT INTO fileset_fences VALUES (?, ?) ON CONFLICT (fileset) DO UPDATE "
            "SET fence = excluded.fence WHERE excluded.fence > fence",
            (wish.fileset, wish.fence),
        )
        row = self._table.one("SELECT fence FROM fileset_fences WHERE fileset = ?", (wish.fileset,))
        if row is not None and row["fence"] > wish.fence:
            raise Fenced(
                f"A newer writer has the fileset {wish.fileset}.", remedy="Start the application again."
            )
        older = self._table.all(
            "SELECT grant_name FROM fileset_grants WHERE fileset = ? AND mode = ? AND fence < ?",
            (wish.fileset, MountMode.READ_WRITE.value, wish.fence),
        )
        for old in older:
            self._table.write("DELETE FROM fileset_exports WHERE grant_name = ?", (old["grant_name"],))
        self._collect(wish.fileset)

    def let_in(self, wish: ExportWish, tree: Path, uid: int) -> bool:
        """Let the wish's keys into the tree; returns whether that is new. Raises Refused for a bad key."""
        check_keys(wish.public_keys)  # before they get into the table, where one bad key would keep out all
        name = self._grant_for(wish)
        row = (wish.subject, name, wish.generation, wish.lease_end, json.dumps(wish.public_keys))
        former = self._table.one("SELECT * FROM fileset_exports WHERE subject = ?", (wish.subject,))
        if former is not None and tuple(former) == row and self._settled.get(wish.subject) == row:
            return False
        with self._table.transaction() as table:
            table.execute(
                "INSERT OR IGNORE INTO fileset_grants VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (name, *_shared_by(wish), str(tree), uid),
            )
            table.execute("INSERT OR REPLACE INTO fileset_exports VALUES (?, ?, ?, ?, ?)", row)
        self._server.open(_grant(name, str(tree), uid, wish.mode.value))
        self._admit()
        self._collect(wish.fileset)
        self._settled[wish.subject] = row
        return former is None or former["grant_name"] != name

    def _grant_for(self, wish: ExportWish) -> str:
        """The name of the grant that the wish shares with others; a fresh one if there is none."""
        found = self._table.one(
            "SELECT grant_name FROM fileset_grants "
            "WHERE fileset = ? AND version = ? AND mode = ? AND holder = ? AND fence = ?",
            _shared_by(wish),
        )
        return str(found["grant_name"]) if found else f"g-{secrets.token_hex(10)}"

    def end(self, subject: str) -> None:
        """Take an export away; its grant ends with its last one. Raises StillThere if a session lives on."""
        self._settled.pop(subject, None)
        self._table.write("DELETE FROM fileset_exports WHERE subject = ?", (subject,))
        self._collect(fileset_of(subject))
        self._admit()

    def end_all(self, fileset: str) -> None:
        """Take all exports of a fileset away."""
        self._table.write(
            "DELETE FROM fileset_exports WHERE grant_name IN "
            "(SELECT grant_name FROM fileset_grants WHERE fileset = ?)",
            (fileset,),
        )
        self._collect(fileset)
        self._admit()

    def filesets(self) -> list[str]:
        """Filesets that somebody is let into."""
        return [row["fileset"] for row in self._table.all("SELECT DISTINCT fileset FROM fileset_grants")]

    def in_use(self, fileset: str, version: int | None = None) -> bool:
        """Whether anybody is let into the fileset, or into this version of it."""
        row = self._table.one(
            "SELECT 1 FROM fileset_grants WHERE fileset = ? AND (? IS NULL OR version = ?)",
            (fileset, version, version),
        )
        return row is not None

    def _collect(self, fileset: str | None = None) -> None:
        """Close grants that no export uses. The row goes last, so that a crash or a failure closes it again."""
        unused = self._table.all(
            "SELECT grant_name FROM fileset_grants WHERE (? IS NULL OR fileset = ?) AND grant_name NOT IN "
            "(SELECT grant_name FROM fileset_exports)",
            (fileset, fileset),
        )
        for row in unused:
            self._server.close(row["grant_name"])
            self._table.write("DELETE FROM fileset_grants WHERE grant_name = ?", (row["grant_name"],))

    def _admit(self) -> None:
        with self._admitting:  # what is read last is written last
            latest: dict[tuple[str, str], float | None] = {}
            for row in self._table.all("SELECT * FROM fileset_exports ORDER BY subject"):
                for public_key in json.loads(row["public_keys"]):
                    place = (row["grant_name"], public_key)
                    latest[place] = _later(latest.get(place, 0.0), row["lease_end"])
            self._server.admit(Admission(grant, key, at) for (grant, key), at in latest.items())


def fileset_of(subject: str) -> str:
    """The fileset of an export's subject, `<instance>.<fileset>`."""
    return subject.partition(".")[2]


def _shared_by(wish: ExportWish) -> tuple[str, int, str, str, int]:
    """What exports have in common that share a grant: fileset, version, mode, holder, fence."""
    writes = wish.mode is MountMode.READ_WRITE
    holder, fence = (wish.instance, wish.fence) if writes else (wish.compute, 0)
    return (wish.fileset, wish.fileset_version, wish.mode.value, holder, fence)


def _grant(name: str, tree: str, uid: int, mode: str) -> Grant:
    return Grant(name, Path(tree), uid, MountMode(mode))


def _later(one: float | None, other: float | None) -> float | None:
    """The later of two ends; none means never."""
    return None if one is None or other is None else max(one, other)
