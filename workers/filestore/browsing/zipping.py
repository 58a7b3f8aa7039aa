"""A folder as a ZIP archive that is made while it travels, for people whose machine knows no tar."""

from __future__ import annotations

import io
import os
import stat
import time
import zipfile
from collections.abc import Iterator

from workers.filestore.archive import BUFFER_BYTES
from workers.filestore.browsing import tree

# What the format can keep (APPNOTE.TXT 6.3.10, section 4.4.6, MS-DOS dates).
_EARLIEST, _LATEST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)


class _Drain(io.RawIOBase):
    """Takes what the archive writes; `taken` gives it on."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        pieces, self._pieces = b"".join(self._pieces), []
        return pieces


def zipped(folder: int) -> Iterator[bytes]:
    """The tree below an open folder, not compressed. Links and what is no file are left out; none is followed."""
    drain = _Drain()
    with zipfile.ZipFile(drain, "w", zipfile.ZIP_STORED) as archive:
        for where, _, names, handle in os.fwalk(".", dir_fd=folder, follow_symlinks=False):
            for name in sorted(names):
                try:
                    file = os.open(name, tree.READ | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
                except OSError:
                    continue  # a link, not readable, or removed since
                with os.fdopen(file, "rb", buffering=0) as source:
                    yield from _member(archive, drain, source, f"{where[2:]}/{name}".lstrip("/"))
    yield drain.taken()


def _member(archive: zipfile.ZipFile, drain: _Drain, source: io.RawIOBase, name: str) -> Iterator[bytes]:
    facts = os.fstat(source.fileno())
    if not stat.S_ISREG(facts.st_mode):
        return
    moment = time.localtime(facts.st_mtime)[:6]
    info = zipfile.ZipInfo(os.fsencode(name).decode(errors="replace"), min(max(moment, _EARLIEST), _LATEST))
    info.external_attr = (facts.st_mode & 0o777) << 16
    with archive.open(info, "w", force_zip64=True) as target:
        while piece := source.read(BUFFER_BYTES):
            target.write(piece)
            yield drain.taken()
    yield drain.taken()
