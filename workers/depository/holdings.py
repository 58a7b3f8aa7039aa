"""What a box holds: the facts about its blobs, in the box's own table, for every role that keeps layers.

The content store says which bytes are there; the table says how large they are, which repositories they
belong to, when they were last used, until when they are pinned, and what was reported to the master.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass

from common.logs import get_logger
from common.oci.chunks import Measured, measure
from common.oci.manifests import INDEX_TYPES, MANIFEST_TYPES
from common.oci.store import ContentStore
from common.reports import BlobHeld
from common.wishes import ChunkList
from workers.box.table import Table

log = get_logger(__name__)

# A blob that was only used a moment ago is not written down again for every range that is read.
TOUCH_EVERY_S = 60.0
REPORT_BATCH = 64

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS blobs (
        digest TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, media_type TEXT NOT NULL,
        chunk_bytes INTEGER NOT NULL, chunks TEXT NOT NULL, used_at REAL NOT NULL,
        pinned_until REAL NOT NULL DEFAULT 0, reported TEXT)""",
    """CREATE TABLE IF NOT EXISTS repository_blobs (
        repository TEXT NOT NULL, digest TEXT NOT NULL REFERENCES blobs (digest) ON DELETE CASCADE,
        PRIMARY KEY (repository, digest)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS repository_blobs_digest ON repository_blobs (digest)",
    "CREATE TABLE IF NOT EXISTS layers_sequence (one INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO layers_sequence VALUES (1, 0)",
    """CREATE TRIGGER IF NOT EXISTS blob_came AFTER INSERT ON blobs
        BEGIN UPDATE layers_sequence SET value = value + 1; END""",
    """CREATE TRIGGER IF NOT EXISTS blob_went AFTER DELETE ON blobs BEGIN
        UPDATE layers_sequence SET value = value + 1;
        DELETE FROM repository_blobs WHERE digest = OLD.digest; END""",
)


@dataclass(frozen=True)
class Blob:
    """One blob that is held."""

    digest: str
    size_bytes: int
    media_type: str


@dataclass(frozen=True)
class Timer:
    """A blob's timer; times are Unix times."""

    digest: str
    size_bytes: int
    used_at: float
    pinned_until: float


class Holdings:
    """The blobs of one box. Several threads and processes may use it at once."""

    def __init__(self, table: Table, store: ContentStore) -> None:
        self._table = table
        self.store = store
        self._touched: dict[str, float] = {}
        table.create(*_SCHEMA)

    def digests(self) -> set[str]:
        """All blobs that are held: what `layers:<box>` in Redis must say."""
        return {row["digest"] for row in self._table.all("SELECT digest FROM blobs")}

    def sequence(self) -> int:
        """Grows with every blob that comes or goes."""
        row = self._table.one("SELECT value FROM layers_sequence")
        return int(row["value"]) if row else 0

    def size_bytes(self) -> int:
        """Bytes of all blobs."""
        row = self._table.one("SELECT COALESCE(SUM(size_bytes), 0) AS total FROM blobs")
        return int(row["total"]) if row else 0

    def find(self, digest: str, repository: str | None = None) -> Blob | None:
        """The blob if it is held (and belongs to `repository`)."""
        sql = "SELECT digest, size_bytes, media_type FROM blobs WHERE digest = ?"
        values = [digest]
        if repository is not None:
            sql += " AND EXISTS (SELECT 1 FROM repository_blobs AS r WHERE r.digest = blobs.digest"
            sql += " AND r.repository = ?)"
            values.append(repository)
        row = self._table.one(sql, values)
        return Blob(row["digest"], row["size_bytes"], row["media_type"]) if row else None

    def repositories(self, after: str, most: int) -> list[str]:
        """Names of repositories with a manifest here, in order, those after `after`."""
        types = sorted(MANIFEST_TYPES | INDEX_TYPES)
        rows = self._table.all(
            "SELECT DISTINCT r.repository FROM repository_blobs AS r JOIN blobs AS b ON b.digest = r.digest "
            "WHERE b.media_type IN (SELECT value FROM json_each(?)) "
            "AND r.repository > ? ORDER BY r.repository LIMIT ?",
            (json.dumps(types), after, most),
        )
        return [row["repository"] for row in rows]

    def has_repository(self, repository: str) -> bool:
        """Whether any blob here belongs to it."""
        sql = "SELECT 1 FROM repository_blobs WHERE repository = ? LIMIT 1"
        return self._table.one(sql, (repository,)) is not None

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Those of `digests` that are not held, in their order."""
        return [digest for digest in digests if self.find(digest) is None]

    def add(self, measured: Measured, media_type: str, repository: str) -> None:
        """Write down a blob that was committed to the store, as part of `repository`."""
        listed = measured.chunk_list
        with self._table.transaction() as connection:
            connection.execute(
                "INSERT INTO blobs (digest, size_bytes, media_type, chunk_bytes, chunks, used_at) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET used_at = excluded.used_at, "
                "media_type = CASE WHEN excluded.media_type = '' THEN media_type ELSE excluded.media_type END",
                (
                    measured.digest,
                    measured.size_bytes,
                    media_type,
                    listed.chunk_bytes,
                    "".join(listed.chunks),
                    time.time(),
                ),
            )
            self._link(connection, repository, measured.digest)
            if media_type in MANIFEST_TYPES | INDEX_TYPES:
                self._write_index(connection)

    def link(self, repository: str, digests: Iterable[str]) -> None:
        """Let held blobs belong to `repository` too."""
        with self._table.transaction() as connection:
            for digest in digests:
                self._link(connection, repository, digest)

    @staticmethod
    def _link(connection: sqlite3.Connection, repository: str, digest: str) -> None:
        connection.execute(
            "INSERT OR IGNORE INTO repository_blobs SELECT ?, digest FROM blobs WHERE digest = ?",
            (repository, digest),
        )

    def unlink(self, repository: str, digest: str) -> None:
        """Take a blob out of a repository; its timer or the free space rule then drops it."""
        self._table.write(
            "DELETE FROM repository_blobs WHERE repository = ? AND digest = ?", (repository, digest)
        )

    def touch(self, digests: Iterable[str]) -> None:
        """Reset the timers of these blobs."""
        now = time.time()
        due = [item for item in digests if self._touched.get(item, 0.0) < now - TOUCH_EVERY_S]
        if not due:
            return
        with self._table.transaction() as connection:
            connection.executemany(
                "UPDATE blobs SET used_at = ? WHERE digest = ?", [(now, digest) for digest in due]
            )
        self._touched.update(dict.fromkeys(due, now))

    def pin(self, digests: Iterable[str], until: float) -> None:
        """Keep these blobs until a moment (Unix time), whatever their timers say."""
        with self._table.transaction() as connection:
            connection.executemany(
                "UPDATE blobs SET pinned_until = MAX(pinned_until, ?) WHERE digest = ?",
                [(until, digest) for digest in digests],
            )

    def unpin(self, digests: Iterable[str]) -> None:
        """Let the timers decide again."""
        with self._table.transaction() as connection:
            connection.executemany(
                "UPDATE blobs SET pinned_until = 0 WHERE digest = ?", [(digest,) for digest in digests]
            )

    def drop(self, digests: Iterable[str]) -> None:
        """Forget blobs and remove their bytes."""
        with self._table.transaction() as connection:
            for digest in digests:
                connection.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
                self._touched.pop(digest, None)
                self.store.remove(digest)
            self._write_index(connection)

    def timers(self) -> list[Timer]:
        """When each blob was last used, and until when it is pinned."""
        rows = self._table.all("SELECT digest, size_bytes, used_at, pinned_until FROM blobs")
        return [Timer(row["digest"], row["size_bytes"], row["used_at"], row["pinned_until"]) for row in rows]

    def held(self, digests: Iterable[str]) -> list[BlobHeld]:
        """What the master is told of these blobs; what is not held is left out."""
        found = (self._table.one("SELECT * FROM blobs WHERE digest = ?", (digest,)) for digest in digests)
        return [_blob_held(row) for row in found if row is not None]

    def unreported(self, epoch: str) -> list[BlobHeld]:
        """Blobs that were not reported in this epoch of Redis, at most `REPORT_BATCH` of them."""
        rows = self._table.all(
            "SELECT * FROM blobs WHERE reported IS NOT ? ORDER BY rowid LIMIT ?", (epoch, REPORT_BATCH)
        )
        return [_blob_held(row) for row in rows]

    def mark_reported(self, digests: Iterable[str], epoch: str) -> None:
        """These blobs have been reported."""
        with self._table.transaction() as connection:
            connection.executemany(
                "UPDATE blobs SET reported = ? WHERE digest = ?", [(epoch, digest) for digest in digests]
            )

    def reconcile(self) -> None:
        """Make table and disk agree after a crash: rows without bytes go, bytes without a row are verified."""
        on_disk = set(self.store.digests())
        known = self.digests()
        if lost := known - on_disk:
            log.warning("blobs are gone from the disk", blobs=len(lost))
            self.drop(lost)
        for digest in on_disk - known:
            if self._table.one("SELECT 1 FROM blobs WHERE digest = ?", (digest,)):
                continue  # it came while we looked
            with self.store.open(digest) as file:
                measured = measure(file)
            if measured.digest == digest:
                self.add(measured, "", "")
            else:
                log.warning("a blob was damaged on the disk", digest=digest)
                self.store.remove(digest)

    def _write_index(self, connection: sqlite3.Connection) -> None:
        types = sorted(MANIFEST_TYPES | INDEX_TYPES)
        rows = connection.execute(
            f"SELECT digest, size_bytes, media_type FROM blobs "  # noqa: S608 - only question marks
            f"WHERE media_type IN ({', '.join('?' * len(types))}) ORDER BY digest",
            types,
        ).fetchall()
        self.store.write_index(
            [
                {"mediaType": row["media_type"], "digest": row["digest"], "size": row["size_bytes"]}
                for row in rows
            ]
        )


def _blob_held(row: sqlite3.Row) -> BlobHeld:
    text = row["chunks"]
    listed = ChunkList(
        blob=row["digest"],
        size_bytes=row["size_bytes"],
        chunk_bytes=row["chunk_bytes"],
        chunks=[text[start : start + 64] for start in range(0, len(text), 64)],
    )
    return BlobHeld(digest=row["digest"], size_bytes=row["size_bytes"], chunk_list=listed)
