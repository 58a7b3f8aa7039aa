"""The content store: an OCI image layout on disk (OCI image specification, "Image Layout").

A blob is there whole and verified, or not at all: what arrives is written under `ingest/`, checked against
its digest, flushed to the disk and only then renamed into `blobs/sha256/`.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import NotFound
from common.files import write_atomically
from common.oci.chunks import Measured, measure
from common.oci.digest import BadDigest, hex_of
from common.oci.manifests import OCI_INDEX
from common.words import is_digest

LAYOUT = {"imageLayoutVersion": "1.0.0"}


class BlobUnknown(NotFound):
    """The store has no blob of this digest."""

    exit_code = 1


class ContentStore:
    """Blobs by digest under one directory; several processes may share it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self.ingest = root / "ingest"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self.ingest.mkdir(parents=True, exist_ok=True)
        if not (root / "oci-layout").exists():
            write_atomically(root / "oci-layout", json.dumps(LAYOUT))
        if not (root / "index.json").exists():
            self.write_index([])

    def path(self, digest: str) -> Path:
        """Where the blob lies, whether or not it is there; raises BadDigest."""
        return self._blobs / hex_of(digest)

    def ingest_path(self, name: str) -> Path:
        """A place for bytes that are still arriving; raises BadDigest if `name` could lead elsewhere."""
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            raise BadDigest(f"{name[:100]!r} is not a name for an upload.")
        return self.ingest / name

    def has(self, digest: str) -> bool:
        """Whether the blob is there."""
        return self.path(digest).is_file()

    def size(self, digest: str) -> int:
        """The blob's size in bytes; raises BlobUnknown."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError as error:
            raise _unknown(digest) from error

    def open(self, digest: str) -> BinaryIO:
        """The blob for reading; it stays readable while open even if it is removed. Raises BlobUnknown."""
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError as error:
            raise _unknown(digest) from error

    def read(self, digest: str, limit_bytes: int) -> bytes:
        """A small blob whole; raises BlobUnknown, and BadDigest if it is larger than `limit_bytes`."""
        with self.open(digest) as file:
            data = file.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise BadDigest(f"Blob {digest} is larger than {limit_bytes} bytes.")
        return data

    def put(self, data: bytes, digest: str | None = None) -> Measured:
        """Keep a small blob; raises BadDigest if it is not what `digest` says."""
        path = self.ingest_path(f"{uuid.uuid4().hex}.put")
        path.write_bytes(data)
        try:
            return self.commit(path, digest)
        finally:
            path.unlink(missing_ok=True)

    def commit(self, path: Path, digest: str | None, measured: Measured | None = None) -> Measured:
        """Verify a file under `ingest/` and move it to its place; raises BadDigest and leaves it otherwise.

        `measured` is what its writer found while writing it; without it the file is read.
        """
        if digest is not None:
            hex_of(digest)
        with path.open("rb") as file:
            measured = measured or measure(file)
            if digest is not None and measured.digest != digest:
                raise BadDigest(
                    f"The content has the digest {measured.digest}, not {digest}.", field="digest"
                )
            os.fsync(file.fileno())
        os.replace(path, self.path(measured.digest))
        _flush_directory(self._blobs)
        return measured

    def remove(self, digest: str) -> None:
        """Drop a blob; it does not matter whether it was there."""
        self.path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        """Every blob on the disk."""
        for entry in os.scandir(self._blobs):
            if is_digest(f"sha256:{entry.name}"):
                yield f"sha256:{entry.name}"

    def write_index(self, manifests: list[dict[str, Any]]) -> None:
        """Name the manifests that can be reached from `index.json` (as descriptors)."""
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        write_atomically(self.root / "index.json", json.dumps(index))


def _unknown(digest: str) -> BlobUnknown:
    return BlobUnknown(f"There is no blob {digest} here.")


def _flush_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
