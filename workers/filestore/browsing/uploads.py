"""Uploads: written beside the tree, and put in their place by one rename once they are whole.

An upload needs no record: its file is named after where it goes, how long it will be and when it was changed, so that
the same file, chosen again after a break, goes on where it was. A lock keeps two from writing it at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from common.errors import BadInput, Conflict
from common.units import show_size
from workers.filestore.browsing import beneath, paths, tree
from workers.filestore.browsing.errors import NoRoom, explained

# An upload that nobody goes on with is forgotten after a day.
KEPT_S = 86400.0
MOST_BYTES = 2**43  # 8 TiB, ext4's limit is 16
_NEW = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Upload:
    """A file on its way in. `top` is where `path` begins; `modified_at` (Unix time) is given to the file."""

    top: int
    path: bytes
    size_bytes: int
    modified_at: float | None
    replace: bool
    root: bytes = b""

    @property
    def name(self) -> bytes:
        """Its file's name while it is on its way."""
        facts = (
            paths.join(self.root, self.path),
            str(self.size_bytes).encode(),
            str(self.modified_at).encode(),
        )
        return b"up-" + hashlib.sha256(b"\0".join(facts)).hexdigest()[:32].encode()


class Uploads:
    """All uploads of one home; `aside` is an open directory in the same file system."""

    def __init__(self, aside: int) -> None:
        self._aside = aside

    def offset(self, upload: Upload) -> int:
        """How much of it is there. Raises Conflict if the name is taken, NoRoom if the rest does not fit."""
        self._check_place(upload)
        try:
            done = os.stat(upload.name, dir_fd=self._aside, follow_symlinks=False).st_size
        except FileNotFoundError:
            done = 0
        check_room(upload.top, upload.size_bytes - done, upload.path)
        return done

    def write(self, upload: Upload, offset: int, pieces: Iterable[bytes]) -> int:
        """Go on from `offset`; returns how much is there now. Once all is, the file is in its place.

        Raises Conflict if `offset` is not where it goes on; `field` is then `offset`.
        """
        with self._writing(upload.name) as handle:
            done = os.fstat(handle).st_size
            if offset != done:
                if not done:
                    self.forget(upload)
                raise Conflict(
                    f"{done} bytes of it are here.",
                    field="offset",
                    remedy="Ask where it goes on, and go on there.",
                )
            check_room(upload.top, upload.size_bytes - done, upload.path)
            for piece in pieces:
                done += len(piece)
                if done > upload.size_bytes:
                    raise BadInput("More came than was said.", field="size", remedy="Begin again.")
                _write_all(handle, piece, upload.path)
            if done == upload.size_bytes:
                self._finish(upload, handle, upload.name)
        return done

    def write_whole(self, upload: Upload, pieces: Iterable[bytes]) -> int:
        """Write a file of unknown length; nothing is left of one that does not come to its end."""
        self._check_place(upload)
        name = f"once-{secrets.token_hex(12)}".encode()
        try:
            with self._writing(name) as handle:
                done = 0
                for piece in pieces:
                    _write_all(handle, piece, upload.path)
                    done += len(piece)
                self._finish(upload, handle, name)
                return done
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._aside)

    def forget(self, upload: Upload) -> None:
        """Throw away what is there of it."""
        with suppress(FileNotFoundError):
            os.unlink(upload.name, dir_fd=self._aside)

    def sweep(self) -> None:
        """Remove what nobody goes on with, and what a removal left when it was cut off."""
        for name in tree.names(self._aside):
            with suppress(OSError):  # somebody else is at it
                facts = os.stat(name, dir_fd=self._aside, follow_symlinks=False)
                if not stat.S_ISREG(facts.st_mode):
                    tree.discard(self._aside, name)
                elif time.time() - facts.st_mtime > KEPT_S:
                    os.unlink(name, dir_fd=self._aside)

    @contextmanager
    def _writing(self, name: bytes) -> Iterator[int]:
        handle = os.open(name, _NEW | os.O_APPEND, 0o600, dir_fd=self._aside)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    "The same file is on its way already.", field="path", remedy="Wait for it, or end it."
                ) from None
            yield handle
        finally:
            os.close(handle)

    def _check_place(self, upload: Upload) -> None:
        """Whether it may take its place, said before the bytes travel."""
        if not upload.path:
            raise BadInput("This needs the name of a file.", field="path")
        if upload.replace:
            return
        try:
            os.close(beneath.open_beneath(upload.top, upload.path, os.O_PATH | os.O_NOFOLLOW))
        except OSError:
            return  # nothing has the name; whatever else is wrong is said when it is to get it
        raise Conflict(
            f"There is something called {paths.shown(upload.path)} already.",
            field="path",
            remedy="Choose another name, or let it be replaced.",
        )

    def _finish(self, upload: Upload, handle: int, name: bytes) -> None:
        folder, last = paths.split(upload.path)
        tree.make_folders(upload.top, folder)
        with tree.opened(upload.top, folder, tree.FOLDER) as parent, explained(upload.path):
            os.fchmod(handle, _mode_of(parent, last))
            if upload.modified_at is not None:
                os.utime(handle, (upload.modified_at, upload.modified_at))
            os.fsync(handle)
            beneath.rename(self._aside, name, parent, last, replace=upload.replace)


def check_room(top: int, size_bytes: int, path: bytes) -> None:
    """Raises NoRoom, which says how much is free and what takes the most, if so much does not fit."""
    free, whole = tree.room(top)
    if size_bytes <= free:
        return
    largest = ", ".join(f"{paths.shown(name)} ({show_size(size)})" for name, size in tree.heaviest(top))
    raise NoRoom(
        f"{paths.shown(path)} needs {show_size(size_bytes)}, and {show_size(free)} of the home's {show_size(whole)} "
        "are free.",
        field="size",
        remedy=f"Delete what you do not need; the largest here: {largest}." if largest else None,
    )


def _write_all(handle: int, piece: bytes, path: bytes) -> None:
    rest = memoryview(piece)
    with explained(path):
        while rest:
            rest = rest[os.write(handle, rest) :]


def _mode_of(folder: int, name: bytes) -> int:
    """A file that replaces another keeps its permissions: a script stays one that can be run."""
    try:
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return 0o644
    return facts.st_mode & 0o777 if stat.S_ISREG(facts.st_mode) else 0o644
