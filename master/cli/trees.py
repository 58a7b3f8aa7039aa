"""A directory as a stream, and back: tar, as filesets travel.

Python before 3.11.4 has no extraction filters (PEP 706), and Debian 12 has 3.11.2: `unpack` makes the links last,
so that nothing is ever written through one that the archive brought.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from common.errors import BadInput, OpenRaaSError

PIECE_BYTES = 256 * 1024


READABLE = "Let yourself read it (ls -l shows who may), or leave it out."


class BadTree(OpenRaaSError):
    """A stream that is not what a filestore sends."""

    def __init__(
        self, message: str, *, remedy: str = "Get it again, perhaps from another filestore."
    ) -> None:
        super().__init__(message, remedy=remedy)


def size_of(directory: Path) -> int:
    """Bytes of all files below; raises BadInput for what cannot travel."""
    total = 0
    for folder, _, names in os.walk(directory, onerror=_unreadable):
        for name in names:
            path = Path(folder, name)
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                total += found.st_size
            elif not stat.S_ISLNK(found.st_mode):
                raise BadInput(f"{path} is neither a file nor a link.", field="DIR", remedy="Remove it.")
    return total


def _unreadable(error: OSError) -> None:
    raise BadInput(
        f"{error.filename} cannot be read: {error.strerror}.", field="DIR", remedy=READABLE
    ) from error


def pack(directory: Path) -> Iterator[bytes]:
    """The directory's content as a tar, in pieces; owners are left out, modes and links stay.

    Raises BadInput in the middle if a file cannot be read: the receiver then sees a broken stream.
    """
    reader, writer = os.pipe()
    failure: list[BaseException] = []

    def write() -> None:
        try:
            with os.fdopen(writer, "wb") as out, tarfile.open(fileobj=out, mode="w|") as tar:
                for entry in sorted(directory.iterdir()):
                    tar.add(entry, arcname=entry.name, filter=_without_owner)
        except BrokenPipeError:
            pass  # the reader gave up, and knows why
        except Exception as error:  # noqa: BLE001 - raised below, in the thread that reads
            failure.append(error)

    thread = threading.Thread(target=write, name="pack", daemon=True)
    thread.start()
    with os.fdopen(reader, "rb") as source:
        while piece := source.read(PIECE_BYTES):
            yield piece
    thread.join()
    if failure:
        raise BadInput(
            f"{directory} cannot be read: {failure[0]}.", field="DIR", remedy=READABLE
        ) from failure[0]


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def unpack(pieces: Iterable[bytes], directory: Path) -> int:
    """Write a tar stream into a new or empty directory; returns how many files came.

    Raises BadInput if the directory is not empty, BadTree if the stream is broken; then nothing is left of it.
    """
    if directory.exists() and any(directory.iterdir()):
        raise BadInput(f"{directory} is not empty.", field="DIR", remedy="Give a new directory.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        count = _extract(pieces, scratch)
        scratch.rename(directory)
    except (tarfile.TarError, FileExistsError, NotADirectoryError) as error:
        raise BadTree(f"The fileset did not arrive whole: {error}.", remedy="Get it again.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return count


def _extract(pieces: Iterable[bytes], directory: Path) -> int:
    links: list[tuple[Path, tarfile.TarInfo]] = []
    folders: list[tuple[Path, int]] = [(directory, 0o755)]
    count = 0
    with tarfile.open(fileobj=io.BufferedReader(_Stream(pieces)), mode="r|") as tar:
        for member in tar:
            path = _inside(directory, member.name)
            if path == directory:
                continue
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
                folders.append((path, member.mode))
            elif member.isreg():
                _write(tar, member, path)
                count += 1
            elif member.issym() or member.islnk():
                links.append((path, member))
            else:
                raise BadTree(f"{member.name} is neither a file nor a link.")
    for path, member in links:
        path.parent.mkdir(parents=True, exist_ok=True)
        if member.islnk():
            os.link(_inside(directory, member.linkname), path, follow_symlinks=False)
        else:
            path.symlink_to(member.linkname)
    for path, mode in reversed(folders):  # last: a folder may be read-only
        path.chmod(mode & 0o777)
    return count


def _inside(directory: Path, name: str) -> Path:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise BadTree(f"The fileset names a file outside of itself: {name!r}.")
    return directory.joinpath(*parts.parts)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    if source is None:
        raise BadTree(f"{member.name} has no content.")
    with path.open("xb") as file:
        while piece := source.read(PIECE_BYTES):
            file.write(piece)
    path.chmod(member.mode & 0o777)
    os.utime(path, (member.mtime, member.mtime))


class _Stream(io.RawIOBase):
    """Pieces as a file to read from."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
