"""Filesets on disk: read-only versions as directories, homes as file systems with a size limit.

```
filesets/<fileset>/<version>/   a version, whole; it appears by one rename
filesets/<fileset>/.put-…/      a version on its way in
filesets/<fileset>/home.img     a home: a sparse ext4 image, so that the kernel enforces the limit
filesets/<fileset>/copy.img     a whole copy of a home that is written on another box
filesets/<fileset>/.copy-….img  the next such copy, on its way in
filesets/<fileset>/lock         held while somebody reads a home (shared) or mounts or unmounts it (exclusive)
exports/homes/<fileset>/        where a home is mounted while it is used; its files are in `data`
```

Worker and front of a box both use these; the table holds what they have to agree on.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from common import needs
from common.words import LABEL
from workers.box.config import BoxPaths
from workers.box.table import Table
from workers.filestore import programs
from workers.filestore.errors import MissingFileset, StillThere

FIRST_UID = 200_000
HOME_VERSION = 1
# Below this ext4 has no room for its own journal.
LEAST_HOME_BYTES = 16 * 2**20
LOCK_LIMIT_S = 10.0
LOCK_POLL_S = 0.01
# A large put has much to write out before it counts as whole.
SYNC_LIMIT_S = 600.0
GROW_LIMIT_S = 60.0
RELEASE_LIMIT_S = 2.0
HOME_OPTIONS = "loop,nosuid,nodev,noatime,discard"

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS fileset_uids (
        fileset TEXT PRIMARY KEY, uid INTEGER NOT NULL UNIQUE)""",
    """CREATE TABLE IF NOT EXISTS fileset_versions (
        fileset TEXT NOT NULL, version INTEGER NOT NULL, size_bytes INTEGER NOT NULL, files INTEGER NOT NULL,
        at REAL NOT NULL, told INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (fileset, version))""",
    "CREATE TABLE IF NOT EXISTS filesets_removed (fileset TEXT PRIMARY KEY)",
)


@dataclass(frozen=True)
class Version:
    """A version that lies whole on this box."""

    fileset: str
    version: int
    size_bytes: int
    files: int
    at: float


class Volumes:
    """Trees by fileset and version. Raises ValueError for what is not a fileset's id: no path comes of it."""

    def __init__(self, paths: BoxPaths, table: Table) -> None:
        self._root = paths.filesets
        self._homes = paths.exports / "homes"
        self._table = table
        table.create(*_SCHEMA)

    def directory(self, fileset: str) -> Path:
        """Where all of a fileset lies."""
        if not re.fullmatch(LABEL, fileset):
            raise ValueError(f"{fileset!r} is no fileset's id")
        return self._root / fileset

    def uid(self, fileset: str) -> int:
        """The one user id of a fileset's files; given once and to no other, ever."""
        row = self._table.one("SELECT uid FROM fileset_uids WHERE fileset = ?", (fileset,))
        if row is None:
            self._table.write(
                "INSERT OR IGNORE INTO fileset_uids SELECT ?, COALESCE(MAX(uid) + 1, ?) FROM fileset_uids",
                (fileset, FIRST_UID),
            )
            return self.uid(fileset)
        return int(row["uid"])

    def tree(self, fileset: str, version: int) -> Path:
        """The directory of a version; raises MissingFileset if it does not lie here."""
        path = self.directory(fileset) / str(version)
        if not path.is_dir():
            raise MissingFileset(
                f"Version {version} of the fileset {fileset} does not lie on this box.",
                remedy="Put it again with: openraas fileset put.",
            )
        return path

    def is_home(self, fileset: str) -> bool:
        """Whether a home of this id lies here."""
        return self._image(fileset).exists()

    def has(self, fileset: str, version: int) -> bool:
        """Whether a version, or a home, lies here whole."""
        return self.is_home(fileset) or (self.directory(fileset) / str(version)).is_dir()

    @contextmanager
    def preparing(self, fileset: str) -> Iterator[tuple[Path, int]]:
        """A new directory for a version on its way in, and its open handle; gone afterwards unless it was added."""
        path = self.directory(fileset) / f".put-{secrets.token_hex(6)}"
        path.mkdir(parents=True, mode=0o700)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # so that the role knows that it is under way
            uid = self.uid(fileset)
            os.fchown(handle, uid, uid)
            os.fchmod(handle, 0o755)
            yield path, handle
        finally:
            os.close(handle)
            programs.remove_tree(str(path))

    def add(self, fileset: str, version: int, prepared: Path, *, size_bytes: int, files: int) -> None:
        """Let a prepared directory appear as a version in one step; raises OSError if it exists already."""
        programs.run(["sync", "-f", str(prepared)], limit_s=SYNC_LIMIT_S)
        prepared.rename(self.directory(fileset) / str(version))
        self.record(fileset, version, size_bytes=size_bytes, files=files)

    def record(self, fileset: str, version: int, *, size_bytes: int, files: int) -> None:
        """Note what lies here; the role tells the master."""
        self._table.write(
            "INSERT OR REPLACE INTO fileset_versions VALUES (?, ?, ?, ?, ?, 0)",
            (fileset, version, size_bytes, files, time.time()),
        )

    def versions(self, *, untold: bool = False) -> list[Version]:
        """All versions that lie here, or those of which the master was not told yet."""
        where = "WHERE told = 0" if untold else ""
        rows = self._table.all(
            f"SELECT fileset, version, size_bytes, files, at FROM fileset_versions {where} "  # noqa: S608
            "ORDER BY fileset, version"
        )
        return [self._measured(Version(**dict(row))) for row in rows]

    def _measured(self, version: Version) -> Version:
        """A home takes the blocks that its image really has; everything else what was put."""
        try:
            blocks = self._image(version.fileset).stat().st_blocks
        except FileNotFoundError:
            return version
        return replace(version, size_bytes=blocks * 512)

    def told(self, version: Version) -> None:
        """The master was told of a version."""
        self._table.write(
            "UPDATE fileset_versions SET told = 1 WHERE fileset = ? AND version = ?",
            (version.fileset, version.version),
        )

    def remove(self, fileset: str, version: int) -> None:
        """Remove one version; nobody may be using it."""
        path = self.directory(fileset) / str(version)
        doomed = path.with_name(f".put-removed-{version}")
        if path.exists():
            path.rename(doomed)  # never seen half removed
        programs.remove_tree(str(doomed))
        self._table.write(
            "DELETE FROM fileset_versions WHERE fileset = ? AND version = ?", (fileset, version)
        )

    def remove_all(self, fileset: str) -> None:
        """Remove a fileset with all its versions, or a home; raises StillThere if a home is being read.

        An id is given once: no session that was let in before makes the home again.
        """
        self._table.write("INSERT OR IGNORE INTO filesets_removed VALUES (?)", (fileset,))
        if self.is_home(fileset) and not self.close_home(fileset):
            raise StillThere(f"The home {fileset} is being read; it is removed when that ends.")
        programs.remove_tree(str(self.directory(fileset)))
        self._table.write("DELETE FROM fileset_versions WHERE fileset = ?", (fileset,))

    def sweep(self, is_used: Callable[[Path], bool]) -> None:
        """Remove what a put left that did not come to its end."""
        for path in self._root.glob("*/.put-*"):
            if not is_used(path):
                programs.remove_tree(str(path))

    def used_bytes(self) -> int:
        """Disk space of all filesets that lie here whole; what is on its way in has a promise of room."""
        copies = sum(path.stat().st_blocks * 512 for path in self._root.glob("*/copy.img"))
        return copies + sum(version.size_bytes for version in self.versions())

    def open_home(self, fileset: str, limit_bytes: int) -> Path:
        """Mount a home, made empty if it is not there, made larger if its limit grew; returns its files."""
        point = self._homes / fileset
        if not point.is_mount():
            with self._locked(fileset, fcntl.LOCK_EX):
                if not point.is_mount():
                    self._make_image(fileset, limit_bytes)
                    self._mount_image(fileset, limit_bytes)
        return point / "data"

    def close_home(self, fileset: str) -> bool:
        """Unmount a home that nobody is let into any more; returns False if somebody is reading it still."""
        point = self._homes / fileset
        if not point.is_mount():
            return True
        try:
            with self._locked(fileset, fcntl.LOCK_EX, limit_s=0.0):
                if point.is_mount():
                    programs.run(["umount", "--no-canonicalize", str(point)])
                point.rmdir()
        except StillThere:
            return False
        return True

    def open_homes(self) -> list[str]:
        """Homes that are mounted now."""
        return [path.name for path in self._homes.glob("*") if path.is_mount()]

    @contextmanager
    def new_copy(self, fileset: str, limit_bytes: int, point: Path) -> Iterator[Path]:
        """An empty copy of a home, mounted at `point`: it replaces the last one if all goes well, else it goes."""
        image = self.directory(fileset) / f".copy-{secrets.token_hex(6)}.img"
        image.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        point.mkdir(parents=True, mode=0o700)
        try:
            _make_file_system(image, limit_bytes)
            programs.run(["mount", "-t", "ext4", "-o", HOME_OPTIONS, str(image), str(point)])
            try:
                yield self._make_data(fileset, point)
            finally:
                programs.run(["umount", "--no-canonicalize", str(point)], limit_s=SYNC_LIMIT_S)
            with self._locked(fileset, fcntl.LOCK_EX):
                if self.is_home(fileset):
                    raise StillThere(f"The home {fileset} lies here itself.")
                image.rename(self._copy(fileset))
        finally:
            image.unlink(missing_ok=True)
            point.rmdir()

    def promote_copy(self, fileset: str) -> bool:
        """Let the copy of a home be the home; returns False if there is none, or a home already."""
        if self.is_home(fileset) or not self._copy(fileset).exists():
            return False
        with self._locked(fileset, fcntl.LOCK_EX):
            return self._promote(fileset)

    def _promote(self, fileset: str) -> bool:
        if self.is_home(fileset) or not self._copy(fileset).exists():
            return False
        self._copy(fileset).rename(self._image(fileset))
        self.record(fileset, HOME_VERSION, size_bytes=0, files=0)
        return True

    def sweep_copies(self) -> None:
        """Remove copies that were on their way in when the box went down."""
        for path in self._root.glob("*/.copy-*.img"):
            path.unlink(missing_ok=True)

    @contextmanager
    def reading(self, fileset: str, version: int) -> Iterator[Path]:
        """The files of a version or of a home, which stay there for as long as this lasts."""
        if not self.is_home(fileset):
            yield self.tree(fileset, version)
            return
        with self.using(fileset, 0) as point:
            yield point / "data"

    @contextmanager
    def using(self, fileset: str, limit_bytes: int) -> Iterator[Path]:
        """A home's file system, made where it is missing, which stays mounted for as long as this lasts.

        Raises MissingFileset if it was removed, StillThere if it cannot be opened now.
        """
        if self._table.one("SELECT 1 FROM filesets_removed WHERE fileset = ?", (fileset,)) is not None:
            raise MissingFileset(f"The home {fileset} was removed.", remedy="Ask the portal for the new one.")
        point = self._homes / fileset
        end = time.monotonic() + LOCK_LIMIT_S
        while True:
            self.open_home(fileset, limit_bytes)
            with self._locked(fileset, fcntl.LOCK_SH):
                if point.is_mount():
                    yield point
                    return
            if time.monotonic() > end:
                raise StillThere(f"The home {fileset} could not be opened.", remedy="Try again.")

    def share(self, fileset: str) -> int:
        """The home's lock, shared, as a handle for another process: the home stays mounted while that has it open.

        Not to be called but while `using` lasts.
        """
        handle = os.open(self.directory(fileset) / "lock", os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(handle, fcntl.LOCK_SH)
        return handle

    def _image(self, fileset: str) -> Path:
        return self.directory(fileset) / "home.img"

    def _copy(self, fileset: str) -> Path:
        return self.directory(fileset) / "copy.img"

    def _make_image(self, fileset: str, limit_bytes: int) -> None:
        image = self._image(fileset)
        if image.exists() or self._promote(fileset):
            return
        image.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = image.with_name(".home.img")
        _make_file_system(new, limit_bytes)
        new.rename(image)

    def _mount_image(self, fileset: str, limit_bytes: int) -> None:
        image, point = self._image(fileset), self._homes / fileset
        point.mkdir(parents=True, exist_ok=True, mode=0o700)
        released = _wait_released(image)
        if released and image.stat().st_size < limit_bytes:
            _grow(image, limit_bytes)
        programs.run(["mount", "-t", "ext4", "-o", HOME_OPTIONS, str(image), str(point)])
        if not (point / "data").exists():
            self._make_data(fileset, point)
            self.record(fileset, HOME_VERSION, size_bytes=0, files=0)

    def _make_data(self, fileset: str, point: Path) -> Path:
        """The person's files lie beside `lost+found`, which is the file system's."""
        data = point / "data"
        data.mkdir(mode=0o700)
        os.chown(data, self.uid(fileset), self.uid(fileset))
        return data

    @contextmanager
    def _locked(self, fileset: str, kind: int, *, limit_s: float = LOCK_LIMIT_S) -> Iterator[None]:
        directory = self.directory(fileset)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        end = time.monotonic() + limit_s
        with (directory / "lock").open("w") as file:
            while True:
                try:
                    fcntl.flock(file, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= end:
                        raise StillThere(f"The fileset {fileset} is in use.", remedy="Try again.") from None
                    time.sleep(LOCK_POLL_S)
            yield


def _make_file_system(image: Path, limit_bytes: int) -> None:
    with image.open("wb") as file:
        file.truncate(max(limit_bytes, LEAST_HOME_BYTES))
        image.chmod(0o600)
    command = [needs.path_of(needs.MKFS), "-q", "-F", "-m", "0", "-L", "openraas-home"]
    programs.run([*command, "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", str(image)])


def _wait_released(image: Path) -> bool:
    """Whether the kernel has let go of an image: a moment after the last session's namespace went with it.

    Where another program's mount namespace holds on to it, mounting it again takes the same loop device and
    file system, which is safe; only checking and growing it are not.
    """
    end = time.monotonic() + RELEASE_LIMIT_S
    while any(_backs(device, image) for device in Path("/sys/block").glob("loop*/loop/backing_file")):
        if time.monotonic() > end:
            return False
        time.sleep(LOCK_POLL_S)
    return True


def _backs(device: Path, image: Path) -> bool:
    try:
        return device.read_text().rstrip("\n") == str(image.resolve())
    except OSError:  # it was let go just now
        return False


def _grow(image: Path, limit_bytes: int) -> None:
    """Enlarge an image that is not mounted; resize2fs wants it checked first."""
    programs.run([needs.path_of(needs.FSCK), "-f", "-p", str(image)], limit_s=GROW_LIMIT_S, good=(0, 1))
    size = f"{limit_bytes // 1024}K"
    programs.run([needs.path_of(needs.RESIZE), str(image), size], limit_s=GROW_LIMIT_S)
