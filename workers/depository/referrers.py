"""Manifests that refer to others by `subject`: signatures, bills of materials (distribution specification 1.1)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from common.images import MANIFEST_LIMIT, PlatformImage
from common.oci.manifests import (
    INDEX_TYPES,
    LIMIT_BYTES,
    MANIFEST_TYPES,
    OCI_INDEX,
    BadManifest,
    Manifest,
    parse,
)
from common.oci.store import BlobUnknown
from workers.box.table import Table
from workers.depository.described import platform_image
from workers.depository.holdings import Holdings

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS referrers (
    repository TEXT NOT NULL, subject TEXT NOT NULL, digest TEXT NOT NULL, descriptor TEXT NOT NULL,
    artifact_type TEXT NOT NULL, PRIMARY KEY (repository, subject, digest)) WITHOUT ROWID""",
    # What a referrer is made of, itself included.
    """CREATE TABLE IF NOT EXISTS referrer_blobs (
    digest TEXT NOT NULL, blob TEXT NOT NULL, PRIMARY KEY (digest, blob)) WITHOUT ROWID""",
    # Those that were pushed here, and when the master was told of them.
    """CREATE TABLE IF NOT EXISTS pushed_referrers (
    repository TEXT NOT NULL, digest TEXT NOT NULL, told_at REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (repository, digest)) WITHOUT ROWID""",
)
# Only what still belongs to the repository to which it was pushed.
_HERE = (
    "FROM referrers AS r JOIN repository_blobs AS b ON b.repository = r.repository AND b.digest = r.digest "
)
# The master keeps what it was told of; a report that got lost is made good by the next one.
TELL_AGAIN_S = 3600.0
TELL_AT_ONCE = 8
# So many descriptors fit into one answer that clients read whole (4 MiB).
PAGE = 1000


class Referrers:
    """Who refers to what, by repository. What is no longer held is no longer told."""

    def __init__(self, table: Table, holdings: Holdings) -> None:
        self._table = table
        self._holdings = holdings
        names = "('referrers', 'referrer_blobs')"
        known = table.all(f"SELECT 1 FROM sqlite_master WHERE name IN {names}")  # noqa: S608
        table.create(*_SCHEMA)
        if len(known) < 2:
            self._take_in_older()

    def record(self, repository: str, digest: str, size_bytes: int, manifest: Manifest) -> None:
        """Write down a manifest that was kept, if it refers to another."""
        if manifest.subject is None:
            return
        descriptor: dict[str, Any] = {"mediaType": manifest.media_type, "digest": digest, "size": size_bytes}
        if manifest.artifact_type:
            descriptor["artifactType"] = manifest.artifact_type
        if manifest.annotations:
            descriptor["annotations"] = dict(manifest.annotations)
        blobs = [digest, *(item.digest for item in manifest.references)]
        with self._table.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO referrers VALUES (?, ?, ?, ?, ?)",
                (repository, manifest.subject.digest, digest, json.dumps(descriptor), manifest.artifact_type),
            )
            connection.executemany(
                "INSERT OR IGNORE INTO referrer_blobs VALUES (?, ?)", [(digest, blob) for blob in blobs]
            )

    def pushed(self, repository: str, digest: str, manifest: Manifest) -> None:
        """A manifest was pushed here: if it refers to another, the master is to be told."""
        if manifest.subject is not None:
            self._table.write(
                "INSERT OR REPLACE INTO pushed_referrers VALUES (?, ?, 0)", (repository, digest)
            )

    def tell_again(self, repository: str) -> None:
        """A tag was set, so the master may know now to what the referrers of this repository refer."""
        self._table.write("UPDATE pushed_referrers SET told_at = 0 WHERE repository = ?", (repository,))

    def untold(self) -> list[PlatformImage]:
        """Some of those pushed here of which the master was not told lately; what others refer to comes first."""
        rows = self._table.all(
            f"SELECT DISTINCT r.digest, r.subject IN (SELECT digest FROM referrers) AS later {_HERE}"  # noqa: S608
            "JOIN pushed_referrers AS p ON p.repository = r.repository AND p.digest = r.digest "
            "WHERE p.told_at < ? ORDER BY later, r.digest LIMIT ?",
            (time.time() - TELL_AGAIN_S, TELL_AT_ONCE),
        )
        return [image for row in rows if (image := self._described(row["digest"])) is not None]

    def mark_told(self, digests: Iterable[str]) -> None:
        """The master has been told of these."""
        with self._table.transaction() as connection:
            connection.executemany(
                "UPDATE pushed_referrers SET told_at = ? WHERE digest = ?",
                [(time.time(), digest) for digest in digests],
            )

    def _described(self, digest: str) -> PlatformImage | None:
        """None for what cannot be told: an index, or a manifest longer than a report may be."""
        blob = self._holdings.find(digest)
        if blob is None or blob.size_bytes > MANIFEST_LIMIT or blob.media_type not in MANIFEST_TYPES:
            self.mark_told([digest])
            return None
        data = self._holdings.store.read(digest, LIMIT_BYTES)
        return platform_image(self._holdings, data, parse(data, blob.media_type), "")

    def kept_with(self) -> dict[str, set[str]]:
        """By manifest the blobs that are kept as long as it is, being parts of what refers to it."""
        kept: dict[str, set[str]] = {}
        parts = f"SELECT DISTINCT r.subject, p.blob {_HERE}JOIN referrer_blobs AS p ON p.digest = r.digest"
        for row in self._table.all(parts):
            kept.setdefault(row["subject"], set()).add(row["blob"])
        return kept

    def index(self, repository: str, subject: str, artifact_type: str, after: str) -> tuple[bytes, str]:
        """An index of those who refer to `subject`, and the digest after which to go on ("" at the end)."""
        sql = (
            "SELECT r.digest, r.descriptor FROM referrers AS r JOIN repository_blobs AS b "
            "ON b.repository = r.repository AND b.digest = r.digest "
            "WHERE r.repository = ? AND r.subject = ? AND r.digest > ?"
        )
        values: list[object] = [repository, subject, after]
        if artifact_type:
            sql += " AND r.artifact_type = ?"
            values.append(artifact_type)
        rows = self._table.all(sql + " ORDER BY r.digest LIMIT ?", [*values, PAGE + 1])
        manifests = [json.loads(row["descriptor"]) for row in rows[:PAGE]]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        return json.dumps(index).encode(), rows[PAGE - 1]["digest"] if len(rows) > PAGE else ""

    def _take_in_older(self) -> None:
        """What was pushed before this table was there ("Enabling the Referrers API")."""
        types = json.dumps(sorted(MANIFEST_TYPES | INDEX_TYPES))
        self._take_in("b.media_type IN (SELECT value FROM json_each(?))", types)
        self._table.write(
            "INSERT OR IGNORE INTO pushed_referrers SELECT repository, digest, 0 FROM referrers"
        )

    def take_in(self, digests: Iterable[str]) -> None:
        """Manifests that were not pushed here but fetched."""
        self._take_in("b.digest IN (SELECT value FROM json_each(?))", json.dumps(list(digests)))

    def _take_in(self, which: str, values: str) -> None:
        rows = self._table.all(
            "SELECT r.repository, b.digest, b.media_type FROM repository_blobs AS r "  # noqa: S608
            f"JOIN blobs AS b ON b.digest = r.digest WHERE {which}",
            (values,),
        )
        for row in rows:
            try:
                data = self._holdings.store.read(row["digest"], LIMIT_BYTES)
                manifest = parse(data, row["media_type"])
            except (BlobUnknown, BadManifest):
                continue  # damaged on the disk, or never a manifest: nobody can refer by it
            self.record(row["repository"], row["digest"], len(data), manifest)
