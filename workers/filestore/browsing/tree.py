"""What can be done with a tree of files below an open directory. All paths are relative bytes (`paths.decode`)."""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from common.errors import BadInput
from workers.filestore.browsing import beneath, paths
from workers.filestore.browsing.errors import explained

# A directory with more entries than this is shown in part, and says so.
MOST_SCANNED = 200_000
MOST_LISTED = 1000
# How much is looked at to say what takes the most room.
WEIGHED_ENTRIES, WEIGHED_S = 20_000, 1.0
FOLDER = os.O_RDONLY | os.O_DIRECTORY
# A pipe without a writer would block whoever opens it.
READ = os.O_RDONLY | os.O_NONBLOCK


@dataclass(frozen=True)
class Entry:
    """One name in a folder. `kind` is file, folder, or link (one that leads nowhere here), or other."""

    name: bytes
    kind: str
    size_bytes: int
    modified_at: float


@dataclass(frozen=True)
class Listing:
    """A part of a folder, folders first. `cut`: it has more entries than are looked at."""

    entries: list[Entry]
    total: int
    cut: bool


@contextmanager
def opened(top: int, path: bytes, flags: int = READ) -> Iterator[int]:
    """An open file or folder; closed afterwards."""
    with explained(path):
        handle = beneath.open_beneath(top, path, flags)
    try:
        yield handle
    finally:
        os.close(handle)


def list_folder(top: int, path: bytes, *, offset: int, limit: int) -> Listing:
    """The entries of a folder from `offset` on, at most `limit` of them."""
    with opened(top, path, FOLDER) as folder, explained(path):
        found: list[tuple[bool, str, bytes]] = []
        cut = False
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(found) == MOST_SCANNED:
                    cut = True
                    break
                found.append(
                    (not entry.is_dir(follow_symlinks=False), entry.name.casefold(), os.fsencode(entry.name))
                )
        found.sort()
        listed = [
            item for _, _, name in found[offset : offset + limit] if (item := _entry(top, path, folder, name))
        ]
        return Listing(listed, len(found), cut)


def _entry(top: int, path: bytes, folder: int, name: bytes) -> Entry | None:
    try:
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        kind = _kind(facts.st_mode)
        if kind == "link":
            facts, kind = _behind(top, paths.join(path, name)) or (facts, kind)
    except FileNotFoundError:
        return None  # removed since the folder was read
    return Entry(name, kind, facts.st_size if kind == "file" else 0, facts.st_mtime)


def _behind(top: int, path: bytes) -> tuple[os.stat_result, str] | None:
    """What a link leads to, if that lies here."""
    try:
        handle = beneath.open_beneath(top, path, os.O_PATH)
    except OSError:
        return None
    try:
        facts = os.fstat(handle)
        kind = _kind(facts.st_mode)
        return None if kind == "link" else (facts, kind)
    finally:
        os.close(handle)


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"


def kind_of(handle: int, path: bytes) -> str:
    """file or folder; raises BadInput for a pipe, a socket or a device."""
    kind = _kind(os.fstat(handle).st_mode)
    if kind not in ("file", "folder"):
        raise BadInput(f"{paths.shown(path)} is neither a file nor a folder.", field="path")
    return kind


def make_folder(top: int, path: bytes) -> None:
    """Make one folder."""
    folder, name = _named(path)
    with opened(top, folder, FOLDER) as parent, explained(path):
        os.mkdir(name, 0o755, dir_fd=parent)


def make_folders(top: int, path: bytes) -> None:
    """Make a folder and those that lead to it, where they are missing."""
    made = b""
    for step in path.split(b"/") if path else ():
        with opened(top, made, FOLDER) as parent, explained(path), suppress(FileExistsError):
            os.mkdir(step, 0o755, dir_fd=parent)
        made = paths.join(made, step)


def move(top: int, source: bytes, target: bytes, *, replace: bool = False) -> None:
    """Move or rename, in one step. Raises Conflict if the new name is taken."""
    folder, name = _named(source)
    new_folder, new_name = _named(target, field="to")
    with opened(top, folder, FOLDER) as parent, opened(top, new_folder, FOLDER) as new_parent:
        with explained(source):
            os.stat(name, dir_fd=parent, follow_symlinks=False)
        with explained(target):
            beneath.rename(parent, name, new_parent, new_name, replace=replace)


def remove(top: int, path: bytes, aside: int) -> None:
    """Remove a file, or a folder with all in it: gone from its place in one step, then emptied in `aside`."""
    folder, name = _named(path)
    doomed = f"gone-{secrets.token_hex(8)}".encode()
    with opened(top, folder, FOLDER) as parent, explained(path):
        os.rename(name, doomed, src_dir_fd=parent, dst_dir_fd=aside)
    with explained(path):
        discard(aside, doomed)


def discard(aside: int, name: bytes) -> None:
    """Remove a tree that lies directly in `aside`, however deep it is: inner folders are first moved up."""
    waiting = [name]
    while waiting:
        doomed = waiting.pop()
        if not stat.S_ISDIR(os.stat(doomed, dir_fd=aside, follow_symlinks=False).st_mode):
            os.unlink(doomed, dir_fd=aside)
            continue
        os.chmod(doomed, 0o700, dir_fd=aside)
        folder = os.open(doomed, FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=aside)
        try:
            for entry in names(folder):
                if stat.S_ISDIR(os.stat(entry, dir_fd=folder, follow_symlinks=False).st_mode):
                    lifted = f"gone-{secrets.token_hex(8)}".encode()
                    os.chmod(entry, 0o700, dir_fd=folder)  # whose `..` changes has to be writable
                    os.rename(entry, lifted, src_dir_fd=folder, dst_dir_fd=aside)
                    waiting.append(lifted)
                else:
                    os.unlink(entry, dir_fd=folder)
        finally:
            os.close(folder)
        os.rmdir(doomed, dir_fd=aside)


def names(folder: int) -> list[bytes]:
    """What an open folder holds."""
    with os.scandir(folder) as entries:
        return [os.fsencode(entry.name) for entry in entries]


def room(top: int) -> tuple[int, int]:
    """Bytes that are free, and that there are in all."""
    facts = os.fstatvfs(top)
    return facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize


def heaviest(top: int, count: int = 3) -> list[tuple[bytes, int]]:
    """The largest files, as far as they are found in a short time."""
    end, seen = time.monotonic() + WEIGHED_S, 0
    found: list[tuple[int, bytes]] = []
    for folder, _, names, handle in os.fwalk(".", dir_fd=top, onerror=lambda _: None):
        for name in names:
            with suppress(OSError):
                size = os.stat(name, dir_fd=handle, follow_symlinks=False).st_size
                found.append((size, paths.join(os.fsencode(folder)[2:], os.fsencode(name))))
        found = sorted(found, reverse=True)[:count]
        seen += len(names) + 1
        if seen > WEIGHED_ENTRIES or time.monotonic() > end:
            break
    return [(path, size) for size, path in found]


def _named(path: bytes, *, field: str = "path") -> tuple[bytes, bytes]:
    if not path:
        raise BadInput("This needs the path of something in the home.", field=field)
    return paths.split(path)
