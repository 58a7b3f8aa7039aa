"""Trees as tar streams, and back: what comes in can neither leave its directory nor exceed its limit.

Directories are entered one by one with O_NOFOLLOW, so that no symlink of an archive is ever followed while it is
being unpacked; symlinks themselves are kept as they are.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from common.errors import BadInput
from common.units import show_size
from workers.filestore.errors import TooLarge

MAKE_AGAIN = "Let openraas fileset put make it from a directory."
BUFFER_BYTES = 256 * 1024
# What an entry takes on a disk besides its content; so that a million empty files are not free.
ENTRY_BYTES = 512
# Names and attributes that precede an entry (pax, GNU) are read into memory.
HEADER_BYTES = 1024 * 1024
NAME_BYTES = 4096
# What ext4 can keep (2446-05-10).
LATEST = 15_032_385_535.0
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Unpacked:
    """What an archive held."""

    size_bytes: int
    files: int


class _Member(tarfile.TarInfo):
    """An entry whose preceding names and attributes are limited."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENSIONS and member.size > HEADER_BYTES:
            raise BadInput("An entry of the archive has an endless name.", field="body", remedy=MAKE_AGAIN)
        return member


class Pieces(io.RawIOBase):
    """A request's body as a file that can be read once."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def unpack(
    pieces: Iterable[bytes],
    directory: int,
    *,
    uid: int,
    limit_bytes: int,
    reach: Callable[[int], None] = lambda _: None,
) -> Unpacked:
    """Write a tar stream below the directory that is open as `directory`; all files become `uid`'s.

    Raises BadInput that names the entry for what may not be in a fileset (absolute names, `..`, devices), TooLarge as
    soon as the content exceeds `limit_bytes`. `reach` is told how much there is to be room for in all before that is
    written, and may raise an error of its own. What was written until then stays and is the caller's to remove.
    """
    unpacker = _Unpacker(directory, uid, limit_bytes, reach)
    stream = io.BufferedReader(Pieces(pieces), BUFFER_BYTES)
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member, bufsize=BUFFER_BYTES) as archive:
            for member in archive:
                unpacker.take(archive, member)
    except tarfile.TarError as error:
        raise BadInput(
            f"The body is not a tar archive: {error}.", field="body", remedy="Send it uncompressed and whole."
        ) from error
    unpacker.finish()
    while stream.read(BUFFER_BYTES):
        pass  # what pads the archive, so that the connection can be used again
    return Unpacked(unpacker.size_bytes, unpacker.files)


class _Unpacker:
    def __init__(self, directory: int, uid: int, limit_bytes: int, reach: Callable[[int], None]) -> None:
        self._root = directory
        self._uid = uid
        self._limit = limit_bytes
        self._reach = reach
        self._charged = 0
        self._directory_times: dict[tuple[str, ...], float] = {}
        self.size_bytes = 0
        self.files = 0

    def take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = _parts(member.name)
        self._charge(ENTRY_BYTES)
        if member.isdir():
            self._directory_times[tuple(parts)] = _when(member)
        try:
            if not parts:
                if not member.isdir():
                    raise BadInput("An entry of the archive has no name.", field="body", remedy=MAKE_AGAIN)
                self._own(self._root, member)
                return
            parent = self._enter(parts[:-1])
            try:
                self._make(archive, member, parent, parts[-1])
            finally:
                os.close(parent)
        except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise BadInput(
                f"The entry {member.name!r} of the archive contradicts an earlier one.",
                field="body",
                remedy=MAKE_AGAIN,
            ) from error
        except OSError as error:
            if isinstance(error, ConnectionError | TimeoutError):
                raise
            raise BadInput(
                f"The entry {member.name!r} cannot be written: {error.strerror}.",
                field="body",
                remedy="Give it a shorter name, or leave it out; if the disk of the box is full, make room there.",
            ) from error

    def finish(self) -> None:
        """Give directories their times, which every file that was made in them changed."""
        for parts, when in self._directory_times.items():
            handle = self._enter(list(parts), make=False)
            try:
                os.utime(handle, (when, when))
            finally:
                os.close(handle)

    def _make(self, archive: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
        if member.isdir():
            self._make_directory(member, parent, name)
            return
        self.files += 1
        _forget(parent, name)
        if member.isreg():
            content = archive.extractfile(member)
            if content is not None:
                self._make_file(content, member, parent, name)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
            os.chown(name, self._uid, self._uid, dir_fd=parent, follow_symlinks=False)
            os.utime(name, (_when(member),) * 2, dir_fd=parent, follow_symlinks=False)
        elif member.islnk():
            self._make_link(member, parent, name)
        else:
            raise BadInput(
                f"The entry {member.name!r} is neither a file, a directory nor a link.",
                field="body",
                remedy="Leave devices, pipes and sockets out.",
            )

    def _make_directory(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise
        handle = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            self._own(handle, member)
        finally:
            os.close(handle)

    def _make_file(self, content: IO[bytes], member: tarfile.TarInfo, parent: int, name: str) -> None:
        handle = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            while piece := content.read(BUFFER_BYTES):
                self._charge(len(piece))
                self.size_bytes += len(piece)
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(handle, rest) :]
            self._own(handle, member)
        finally:
            os.close(handle)

    def _make_link(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        parts = _parts(member.linkname)
        if not parts:
            raise BadInput(f"The entry {member.name!r} links to nothing.", field="body", remedy=MAKE_AGAIN)
        source = self._enter(parts[:-1], make=False)
        try:
            os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def _own(self, handle: int, member: tarfile.TarInfo) -> None:
        """Owner, time and permissions; set-user-id, set-group-id and sticky bits do not come along."""
        os.fchown(handle, self._uid, self._uid)
        os.fchmod(handle, member.mode & 0o777)
        os.utime(handle, (_when(member),) * 2)

    def _enter(self, parts: list[str], *, make: bool = True) -> int:
        """The directory below the root, made where it is missing; symlinks are not followed."""
        handle = os.dup(self._root)
        for part in parts:
            try:
                if make:
                    _make_missing(handle, part, self._uid)
                inner = os.open(part, _DIRECTORY, dir_fd=handle)
            finally:
                os.close(handle)
            handle = inner
        return handle

    def _charge(self, size_bytes: int) -> None:
        self._charged += size_bytes
        if self._charged > self._limit:
            raise TooLarge(
                f"The content exceeds {show_size(self._limit)}, which is what this fileset may take here.",
                field="body",
                remedy="Put less, or have the limit raised.",
            )
        self._reach(self._charged)


def _parts(name: str) -> list[str]:
    """The steps of a relative path; raises BadInput if it is absolute or leads upwards."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\0" in name or len(os.fsencode(name)) > NAME_BYTES:
        raise BadInput(
            f"The entry {name[:200]!r} leads out of the fileset.",
            field="body",
            remedy="Use names relative to the fileset's top, without '..'.",
        )
    return [part for part in parts if part not in ("", ".")]


def _when(member: tarfile.TarInfo) -> float:
    """Modification time; an archive may claim any number, and the kernel takes those since 1970 to 2446."""
    return min(max(0.0, float(member.mtime)), LATEST)


def _make_missing(parent: int, name: str, uid: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return
    os.chown(name, uid, uid, dir_fd=parent, follow_symlinks=False)


def _forget(parent: int, name: str) -> None:
    """An archive may hold a name twice: the later entry counts (tar(5))."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return


def mark(tree: Path) -> str:
    """A word that changes with every change in a tree: names, sizes, owners, and times of the kernel."""
    hashed = hashlib.sha256()
    for folder, folders, files in os.walk(tree):
        folders.sort()
        for name in sorted([".", *folders, *files]):
            try:
                facts = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - names that are not text
            except FileNotFoundError:
                continue
            parts = (facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
            hashed.update(os.fsencode(f"{folder}/{name}") + repr(parts).encode())
    return hashed.hexdigest()


def pack(directory: int) -> Iterator[bytes]:
    """A tree as a tar stream in pieces (pax format). Owners are left out; sockets and the like are too.

    Files that change meanwhile come as long as they were when they were opened, cut or filled with zeros.
    """
    for member, handle in _walk(directory, "."):
        yield member.tobuf(tarfile.PAX_FORMAT)
        if handle is not None:
            with os.fdopen(handle, "rb", buffering=0) as file:
                yield from _content(file, member.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _content(file: IO[bytes], size: int) -> Iterator[bytes]:
    left = size
    while left and (piece := file.read(min(left, BUFFER_BYTES))):
        left -= len(piece)
        yield piece
    left += -size % tarfile.BLOCKSIZE
    while left:
        step = min(left, BUFFER_BYTES)
        left -= step
        yield bytes(step)


def _walk(directory: int, name: str) -> Iterator[tuple[tarfile.TarInfo, int | None]]:
    """Entries below an open directory, itself first; files come with an open handle that the caller closes."""
    facts = os.fstat(directory)
    yield _member(name, facts, tarfile.DIRTYPE), None
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries)
    for inner in names:
        path = f"{name}/{inner}"
        try:
            facts = os.stat(inner, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(facts.st_mode):
                member = _member(path, facts, tarfile.SYMTYPE)
                member.linkname = os.readlink(inner, dir_fd=directory)
                yield member, None
            elif stat.S_ISREG(facts.st_mode):
                handle = os.open(inner, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                yield _member(path, os.fstat(handle), tarfile.REGTYPE), handle
            elif stat.S_ISDIR(facts.st_mode):
                handle = os.open(inner, _DIRECTORY, dir_fd=directory)
                try:
                    yield from _walk(handle, path)
                finally:
                    os.close(handle)
        except FileNotFoundError:
            continue  # removed since its directory was read


def _member(name: str, facts: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = facts.st_mode & 0o777
    member.mtime = int(facts.st_mtime)
    member.size = facts.st_size if kind == tarfile.REGTYPE else 0
    return member
