"""How a layer is packed for the way: gzip, zstd or not at all.

What is packed here depends on the content (and the library's version) alone, so that pushing the same layer twice,
even from different machines, moves and stores it once. A small cache names a layer by its diff id (image
specification, "Layer DiffID") and says what came of packing it, so that what a depository has is not packed again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from common.errors import Conflict
from common.files import write_atomically
from common.oci.manifests import Descriptor

STEP_BYTES = 2**20
# Part of what makes the result the same everywhere; twice as quick as gzip's default, a few percent larger.
GZIP_LEVEL = 3
ZSTD_LEVEL = 3
CACHE_ENTRIES = 5000
_GZIP_MAGIC, _ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"

Opener = Callable[[], BinaryIO]


class Packing(StrEnum):
    """What a layer's bytes are on the way."""

    GZIP = "gzip"
    ZSTD = "zstd"
    NONE = "none"


@dataclass(frozen=True)
class ArchivedBlob:
    """A config or layer of an archived image; `open` gives its bytes as they are to be pushed."""

    descriptor: Descriptor
    open: Opener


class LayerCache:
    """Diff id → what packing gave, and digest → the repository where it was pushed last; in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            value = json.loads(path.read_text())
            self._packed: dict[str, list[Any]] = dict(value["packed"])
            self._pushed: dict[str, str] = dict(value["pushed"])
        except (OSError, ValueError, KeyError, TypeError):
            self._packed, self._pushed = {}, {}  # a cache that cannot be read is an empty one

    def packed(self, diff_id: str, packing: Packing) -> tuple[str, int] | None:
        """Digest and size of the packed layer, if it was packed before."""
        found = self._packed.get(_key(diff_id, packing))
        return (str(found[0]), int(found[1])) if found else None

    def keep(self, diff_id: str, packing: Packing, digest: str, size_bytes: int) -> None:
        """Remember what packing a layer gave."""
        self._packed[_key(diff_id, packing)] = [digest, size_bytes]

    def forget(self, diff_id: str, packing: Packing) -> None:
        """What was remembered does not hold."""
        self._packed.pop(_key(diff_id, packing), None)
        self.save()

    def pushed_to(self, digest: str) -> str | None:
        """A repository that got this blob."""
        return self._pushed.get(digest)

    def keep_pushed(self, digest: str, repository: str) -> None:
        """Remember where a blob is, so that it can be mounted from there."""
        self._pushed.pop(digest, None)
        self._pushed[digest] = repository

    def save(self) -> None:
        """Write it down, the newest entries alone. A place that cannot be written is no error."""
        packed = dict(list(self._packed.items())[-CACHE_ENTRIES:])
        pushed = dict(list(self._pushed.items())[-CACHE_ENTRIES:])
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps({"packed": packed, "pushed": pushed}))
        except OSError:
            return  # only the next push is slower


def _key(diff_id: str, packing: Packing) -> str:
    """Another version of the library may give other bytes."""
    version = zlib.ZLIB_RUNTIME_VERSION if packing is Packing.GZIP else _zstd_version()
    return f"{diff_id} {packing.value} {version}"


def _zstd_version() -> str:
    import zstandard

    return ".".join(str(part) for part in zstandard.ZSTD_VERSION)


class Packer:
    """Packs layers into `scratch`. `packing` none: what is packed stays so, the rest is packed with gzip."""

    def __init__(self, scratch: Path, packing: Packing | None, cache: LayerCache | None) -> None:
        self.packing = packing
        self._scratch = scratch
        self._cache = cache

    def pack(self, open_layer: Opener, told: Descriptor | None, diff_id: str) -> tuple[Packing, ArchivedBlob]:
        """The layer as it is pushed, and how it is packed; its descriptor has no media type unless it is `told`."""
        with open_layer() as file:
            now = _packing_of(file.read(4))
        wanted = self.packing or (Packing.GZIP if now is Packing.NONE else now)
        if now is wanted:
            return now, ArchivedBlob(told or _measured(open_layer), open_layer)
        if self._cache is not None and diff_id and (known := self._cache.packed(diff_id, wanted)):
            digest, size_bytes = known
            lazy = _Lazy(
                lambda: self._make(open_layer, now, wanted), digest, lambda: self._stale(diff_id, wanted)
            )
            return wanted, ArchivedBlob(Descriptor("", digest, size_bytes), lazy.open)
        path = self._make(open_layer, now, wanted)
        descriptor = _measured(lambda: path.open("rb"))
        if self._cache is not None and diff_id:
            self._cache.keep(diff_id, wanted, descriptor.digest, descriptor.size_bytes)
        return wanted, ArchivedBlob(descriptor, lambda: path.open("rb"))

    def _make(self, open_layer: Opener, now: Packing, wanted: Packing) -> Path:
        path = self._scratch / uuid.uuid4().hex
        with open_layer() as source, path.open("wb") as out, _unpacked(source, now) as plain:
            pack(plain, out, wanted)
        return path

    def _stale(self, diff_id: str, packing: Packing) -> None:
        if self._cache is not None:
            self._cache.forget(diff_id, packing)
        raise Conflict(
            f"Layer {diff_id} is packed otherwise than the last time.", remedy="Try again: it is packed anew."
        )


class _Lazy:
    """A layer that is packed only when somebody reads it."""

    def __init__(self, make: Callable[[], Path], digest: str, stale: Callable[[], None]) -> None:
        self._make, self._digest, self._stale = make, digest, stale
        self._path: Path | None = None

    def open(self) -> BinaryIO:
        if self._path is None:
            path = self._make()
            if _measured(lambda: path.open("rb")).digest != self._digest:
                self._stale()
            self._path = path
        return self._path.open("rb")


def pack(source: BinaryIO, out: BinaryIO, packing: Packing) -> None:
    """Pack without a name or a time: the same content gives the same bytes (for one version of the library)."""
    if packing is Packing.NONE:
        shutil.copyfileobj(source, out, STEP_BYTES)
    elif packing is Packing.ZSTD:
        import zstandard  # only here: boxes that pack nothing do without

        zstandard.ZstdCompressor(level=ZSTD_LEVEL).copy_stream(source, out)
    else:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=out, mtime=0) as packed:
            shutil.copyfileobj(source, packed, STEP_BYTES)


def _unpacked(source: BinaryIO, packing: Packing) -> BinaryIO:
    if packing is Packing.GZIP:
        return gzip.GzipFile(fileobj=source)  # type: ignore[return-value]
    if packing is Packing.ZSTD:
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
    return source


def _packing_of(start: bytes) -> Packing:
    if start.startswith(_GZIP_MAGIC):
        return Packing.GZIP
    return Packing.ZSTD if start == _ZSTD_MAGIC else Packing.NONE


def _measured(open_blob: Opener) -> Descriptor:
    whole, size = hashlib.sha256(), 0
    with open_blob() as file:
        while piece := file.read(STEP_BYTES):
            whole.update(piece)
            size += len(piece)
    return Descriptor("", f"sha256:{whole.hexdigest()}", size)
