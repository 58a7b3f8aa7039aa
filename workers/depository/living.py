"""Files that somebody still writes to: a lock that ends with its process tells them from what a crash left.

A file's age says little. A layer that waits for its turn, or a push over a slow line, may be quiet for long.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from workers.depository.errors import TransferError

# Who drops a file holds it only while it removes it; then the name is free for a new one.
TRIES = 10


def open_living(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> BinaryIO:
    """Open a file for reading and writing; until it is closed nobody drops it.

    Raises FileNotFoundError without O_CREAT, TransferError if the name is never free.
    """
    for _ in range(TRIES):
        file = os.fdopen(os.open(path, flags, 0o644), "r+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()
    raise TransferError(f"{path} is being removed again and again.")


@contextmanager
def living(path: Path) -> Iterator[BinaryIO]:
    """The same as a context."""
    file = open_living(path)
    try:
        yield file
    finally:
        file.close()


def drop_dead(path: Path) -> bool:
    """Remove a file that nobody has open as living; returns whether it went. One that is not there is no error."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except (BlockingIOError, FileNotFoundError):
        return False
    return True
