"""How much of the lent space is left now, with what is promised to transfers that are under way.

Whoever is about to write much asks here first, whichever role and process of the box it belongs to: pushes, puts,
copies, mirrors, fetches and launches. What is promised to one is left for nobody else, so that together they never
exceed what is lent, nor what the file system really has.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import psutil

from common.errors import OpenRaaSError
from common.oci.digest import hex_of
from common.oci.store import ContentStore
from common.units import show_size
from workers.box.config import BoxConfig, BoxPaths
from workers.box.lent_space import LentSpace
from workers.box.table import Table
from workers.depository.holdings import Holdings

# What stays free on the file system whatever was lent.
SPARE_BYTES = 256 * 2**20
# A transfer whose end is not known asks for so much more at a time.
STEP_BYTES = 16 * 2**20
MORE_ROOM = "Lend more there (lent_bytes in box.toml), or remove images or filesets."

_SCHEMA = """CREATE TABLE IF NOT EXISTS promises (
    holder TEXT NOT NULL, what TEXT NOT NULL, size_bytes INTEGER NOT NULL, kind TEXT NOT NULL,
    process TEXT NOT NULL, PRIMARY KEY (holder, what)) WITHOUT ROWID"""


class NoRoom(OpenRaaSError):
    """Too little of the lent space is left."""

    http_status = 507


class Kind(StrEnum):
    """What a promise is for."""

    TRANSFER = "transfer"  # gone with the process that made it
    LAUNCH = "launch"  # an instance's layers: until the engine has them
    DISK = "disk"  # what an instance may write: until it has ended


@dataclass(frozen=True)
class Share:
    """Part of a promise. What several holders are promised under one name counts once.

    Bytes under `ingest/` of the content store that have this name (a blob's the hexadecimal part of its digest)
    are part of the promise; once the blob is held, it counts among the blobs and no more here.
    """

    what: str
    size_bytes: int
    kind: Kind = Kind.TRANSFER


class Room:
    """The room of one box; several threads and processes may use it."""

    def __init__(self, config: BoxConfig, paths: BoxPaths, table: Table) -> None:
        self._directory = config.state_dir
        self._table = table
        self._space = LentSpace(config, table)
        self._holdings = Holdings(table, ContentStore(paths.store))
        self._process = _this_process()
        table.create(_SCHEMA)

    def left_bytes(self) -> int:
        """What anybody may still be promised; never negative."""
        with self._table.transaction():
            return max(0, self._left())

    def promised_bytes(self, shares: Iterable[Share] = ()) -> int:
        """What is promised and not there yet, or lies unfinished; with `shares`, were they promised too."""
        with self._table.transaction():
            return self._open_bytes(shares)[0]

    def promise(self, holder: str, shares: Iterable[Share]) -> None:
        """Promise all shares, in place of what `holder` was promised before, or raise NoRoom and change nothing.

        May be called within a transaction of the box's table.
        """
        with self._table.transaction() as connection:
            connection.execute("DELETE FROM promises WHERE holder = ?", (holder,))
            before_bytes = self.left_bytes()
            rows = [
                (holder, item.what, item.size_bytes, item.kind, self._owner(item.kind)) for item in shares
            ]
            connection.executemany("INSERT INTO promises VALUES (?, ?, ?, ?, ?)", rows)
            wanted = sum(row[2] for row in rows)
            if wanted and self._left() < 0:
                raise NoRoom(
                    f"{show_size(wanted)} are needed, and this box has only {show_size(before_bytes)} of its "
                    "lent space left.",
                    remedy=MORE_ROOM,
                )

    def release(self, holder: str, kind: Kind | None = None) -> None:
        """Take back what `holder` was promised (of one kind)."""
        kinds = list(Kind) if kind is None else [kind]
        marks = ", ".join("?" * len(kinds))
        self._table.write(
            f"DELETE FROM promises WHERE holder = ? AND kind IN ({marks})",  # noqa: S608 - only question marks
            (holder, *kinds),
        )

    def keep_only(self, kind: Kind, holders: Callable[[], Iterable[str]]) -> None:
        """Take back what was promised to anybody else: what a crash left."""
        with self._table.transaction() as connection:
            kept = set(holders())
            rows = connection.execute(
                "SELECT DISTINCT holder FROM promises WHERE kind = ?", (kind,)
            ).fetchall()
            for row in rows:
                if row["holder"] not in kept:
                    self.release(row["holder"], kind)

    @contextmanager
    def growing(self, what: str) -> Iterator[Growing]:
        """Room for one transfer whose end is not known; taken back in the end."""
        growing = Growing(self, what)
        try:
            yield growing
        finally:
            self.release(what)

    def _left(self) -> int:
        open_bytes, unwritten_bytes = self._open_bytes()
        lent = self._space.use(self._holdings.size_bytes()).raw_free_bytes - open_bytes
        there = shutil.disk_usage(self._directory).free - SPARE_BYTES - unwritten_bytes
        return min(lent, there)

    def _open_bytes(self, also: Iterable[Share] = ()) -> tuple[int, int]:
        """All that is promised or lies unfinished, and what of it transfers have not written yet."""
        promised, coming = self._promised()
        for share in also:
            promised[share.what] = max(share.size_bytes, promised.get(share.what, 0))
        lying = self._lying()
        total = sum(max(promised.get(what, 0), lying.get(what, 0)) for what in promised.keys() | lying.keys())
        return total, sum(max(0, promised[what] - lying.get(what, 0)) for what in coming)

    def _promised(self) -> tuple[dict[str, int], set[str]]:
        """Sizes by name of all promises that hold, and the names of those that are transfers."""
        self._forget_dead()
        rows = self._table.all("SELECT what, size_bytes, kind FROM promises")
        held = {hex_of(digest) for digest in self._holdings.digests()} if rows else set()
        promised: dict[str, int] = {}
        for row in rows:
            if row["what"] not in held:
                promised[row["what"]] = max(row["size_bytes"], promised.get(row["what"], 0))
        coming = {row["what"] for row in rows if row["kind"] != Kind.DISK and row["what"] in promised}
        return promised, coming

    def _lying(self) -> dict[str, int]:
        """What lies under `ingest/`, by name; a file with holes takes what was written."""
        found: dict[str, int] = {}
        for path in self._holdings.store.ingest.iterdir():
            try:
                facts = path.stat()
            except FileNotFoundError:
                continue  # it was finished meanwhile
            what = path.name.partition(".")[0]
            found[what] = found.get(what, 0) + min(facts.st_size, facts.st_blocks * 512)
        return found

    def _owner(self, kind: Kind) -> str:
        return self._process if kind is Kind.TRANSFER else ""

    def _forget_dead(self) -> None:
        for row in self._table.all("SELECT DISTINCT process FROM promises WHERE process != ''"):
            if row["process"] != self._process and not _is_alive(row["process"]):
                self._table.write("DELETE FROM promises WHERE process = ?", (row["process"],))


class Growing:
    """A promise that grows with what arrives."""

    def __init__(self, room: Room, what: str) -> None:
        self._room = room
        self._what = what
        self._promised_bytes = 0

    def reach(self, size_bytes: int) -> None:
        """There is to be room for so many bytes in all. Raises NoRoom."""
        if size_bytes <= self._promised_bytes:
            return
        try:
            self._ask(size_bytes + STEP_BYTES)
        except NoRoom:
            self._ask(size_bytes)

    def _ask(self, size_bytes: int) -> None:
        self._room.promise(self._what, [Share(self._what, size_bytes)])
        self._promised_bytes = size_bytes


def _this_process() -> str:
    return f"{os.getpid()} {psutil.Process().create_time()}"


def _is_alive(process: str) -> bool:
    number, _, born = process.partition(" ")
    try:
        return str(psutil.Process(int(number)).create_time()) == born
    except psutil.NoSuchProcess:
        return False
