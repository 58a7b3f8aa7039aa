"""A blob that is still arriving: its bytes, and which chunks of it are there, on the disk.

Both files survive a crash of the process: the map says for each chunk, one byte, whether it was written. A
chunk is marked after its bytes were handed to the kernel, so only a crash of the machine can make the map
say too much; chunk hashes, or the digest of the whole, find that out.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from common.oci.digest import hex_of
from common.oci.store import ContentStore
from workers.depository.living import open_living

THERE = 1


class Partial:
    """The two files of one blob under the store's `ingest/`."""

    def __init__(self, store: ContentStore, digest: str, size_bytes: int, chunk_bytes: int) -> None:
        name = hex_of(digest)
        self.path = store.ingest_path(f"{name}.part")
        self._map_path = store.ingest_path(f"{name}.{chunk_bytes}.map")
        self._chunk_bytes = chunk_bytes
        self._size_bytes = size_bytes
        count = -(-size_bytes // chunk_bytes)
        resumable = self.path.exists() and self._map_path.exists() and self._map_path.stat().st_size == count
        self.file: BinaryIO = _open(self.path, keep=resumable)
        self._map: BinaryIO = _open(self._map_path, keep=resumable)
        os.ftruncate(self.file.fileno(), size_bytes)
        os.ftruncate(self._map.fileno(), count)

    def chunks(self, hashes: list[str] | None) -> list[int]:
        """The chunks that an earlier run left; where there are hashes, only those that match."""
        marked = os.pread(self._map.fileno(), -(-self._size_bytes // self._chunk_bytes), 0)
        found = [number for number, mark in enumerate(marked) if mark == THERE]
        if hashes is None:
            return found
        return [number for number in found if self._hash(number) == hashes[number]]

    def _hash(self, chunk: int) -> str:
        offset = chunk * self._chunk_bytes
        return hashlib.sha256(os.pread(self.file.fileno(), self._chunk_bytes, offset)).hexdigest()

    def write(self, chunk: int, data: memoryview) -> None:
        """Write a chunk and mark it."""
        offset = chunk * self._chunk_bytes
        while data:
            count = os.pwrite(self.file.fileno(), data, offset)
            offset, data = offset + count, data[count:]
        os.pwrite(self._map.fileno(), bytes([THERE]), chunk)

    def __del__(self) -> None:
        # Not earlier: a slow thread may still write to it, and a reader may still send from it.
        for file in (getattr(self, "file", None), getattr(self, "_map", None)):
            if file is not None:
                file.close()

    def forget_map(self) -> None:
        """The blob is whole and in its place: only the map is left to remove."""
        self._map_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what arrived; who still writes to it writes into nothing."""
        self.path.unlink(missing_ok=True)
        self._map_path.unlink(missing_ok=True)


def _open(path: Path, *, keep: bool) -> BinaryIO:
    if not keep:
        path.unlink(missing_ok=True)
    return open_living(path)
