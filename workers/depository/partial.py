"""A blob that is still arriving: its bytes, and which chunks of it are there, on the disk.

Both files survive a crash of the process: the map says for each chunk, one byte, whether it was written. A
chunk is marked after its bytes were handed to the kernel, so only a crash of the machine can make the map
say too much; chunk hashes, or the digest of the whole, find that out.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
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
        self._whole = _Whole(self.file, chunk_bytes)

    def resume(self, hashes: list[str] | None) -> list[int]:
        """The chunks that an earlier run left; where there are hashes, only those that match."""
        marked = os.pread(self._map.fileno(), -(-self._size_bytes // self._chunk_bytes), 0)
        found = [number for number, mark in enumerate(marked) if mark == THERE]
        if hashes is not None:
            found = [number for number in found if self._hash(number) == hashes[number]]
        self._whole.are_there(found)
        return found

    def _hash(self, chunk: int) -> str:
        offset = chunk * self._chunk_bytes
        return hashlib.sha256(os.pread(self.file.fileno(), self._chunk_bytes, offset)).hexdigest()

    def write(self, chunk: int, data: memoryview) -> None:
        """Write a chunk and mark it."""
        offset, left = chunk * self._chunk_bytes, data
        while left:
            count = os.pwrite(self.file.fileno(), left, offset)
            offset, left = offset + count, left[count:]
        os.pwrite(self._map.fileno(), bytes([THERE]), chunk)
        self._whole.came(chunk, data)

    def sha256(self) -> str:
        """Of the whole once every chunk is there, as hexadecimal digits. Only of chunks that were checked before
        they were written: one that came a second time is not hashed again.
        """
        return self._whole.hexdigest()

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


class _Whole:
    """The sha256 of a blob, taken on chunk by chunk: mostly from memory, right after the chunk's own."""

    def __init__(self, file: BinaryIO, chunk_bytes: int) -> None:
        self._file = file
        self._chunk_bytes = chunk_bytes
        self._sha256 = hashlib.sha256()
        self._next = 0
        self._there: set[int] = set()
        # Held by the one thread that takes it on; the others only say what is there.
        self._lock = threading.Lock()

    def are_there(self, chunks: Iterable[int]) -> None:
        """These are in the file."""
        self._there.update(chunks)

    def came(self, chunk: int, data: memoryview) -> None:
        """A chunk is in the file, and still at hand: take it on if its turn is now, and what comes after it."""
        self._there.add(chunk)
        while self._next in self._there and self._lock.acquire(blocking=False):
            try:
                self._go_on(chunk, data)
            finally:
                self._lock.release()

    def hexdigest(self) -> str:
        """Of all that is there from the first chunk on."""
        with self._lock:
            self._go_on()
            return self._sha256.hexdigest()

    def _go_on(self, chunk: int | None = None, data: memoryview | None = None) -> None:
        while (number := self._next) in self._there:
            at_hand = data if number == chunk else None
            self._sha256.update(self._read(number) if at_hand is None else at_hand)
            self._there.discard(number)
            self._next += 1

    def _read(self, number: int) -> bytes:
        return os.pread(self._file.fileno(), self._chunk_bytes, number * self._chunk_bytes)


def _open(path: Path, *, keep: bool) -> BinaryIO:
    if not keep:
        path.unlink(missing_ok=True)
    return open_living(path)
