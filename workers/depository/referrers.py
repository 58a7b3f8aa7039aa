"""Manifests that refer to others by `subject`: signatures, bills of materials (distribution specification 1.1)."""

from __future__ import annotations

import json
from typing import Any

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
from workers.depository.holdings import Holdings

_SCHEMA = """CREATE TABLE IF NOT EXISTS referrers (
    repository TEXT NOT NULL, subject TEXT NOT NULL, digest TEXT NOT NULL, descriptor TEXT NOT NULL,
    artifact_type TEXT NOT NULL, PRIMARY KEY (repository, subject, digest)) WITHOUT ROWID"""
# So many descriptors fit into one answer that clients read whole (4 MiB).
PAGE = 1000


class Referrers:
    """Who refers to what, by repository. What is no longer held is no longer told."""

    def __init__(self, table: Table, holdings: Holdings) -> None:
        self._table = table
        self._holdings = holdings
        fresh = table.one("SELECT 1 FROM sqlite_master WHERE name = 'referrers'") is None
        table.create(_SCHEMA)
        if fresh:
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
        self._table.write(
            "INSERT OR REPLACE INTO referrers VALUES (?, ?, ?, ?, ?)",
            (repository, manifest.subject.digest, digest, json.dumps(descriptor), manifest.artifact_type),
        )

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
        types = sorted(MANIFEST_TYPES | INDEX_TYPES)
        rows = self._table.all(
            "SELECT r.repository, b.digest, b.media_type FROM repository_blobs AS r "
            "JOIN blobs AS b ON b.digest = r.digest "
            "WHERE b.media_type IN (SELECT value FROM json_each(?))",
            (json.dumps(types),),
        )
        for row in rows:
            try:
                data = self._holdings.store.read(row["digest"], LIMIT_BYTES)
                manifest = parse(data, row["media_type"])
            except (BlobUnknown, BadManifest):
                continue  # damaged on the disk, or never a manifest: nobody can refer by it
            self.record(row["repository"], row["digest"], len(data), manifest)
