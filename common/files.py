"""Files that are there whole or not at all, and secrets that only their owner reads."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Replace `path` with `data` in one step; a crash leaves the old file or the new one."""
    content = data.encode() if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_secret(path: Path, text: str, *, keep_existing: bool = False) -> None:
    """Write `text` so that only its owner reads it (0600). With `keep_existing` the first writer wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not keep_existing:
        write_atomically(path, text, mode=0o600)
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
        try:
            os.link(name, path)
        except FileExistsError:
            return
    finally:
        Path(name).unlink(missing_ok=True)


def read_secret(path: Path) -> str:
    """The text of a secret file, without the line end."""
    return path.read_text().rstrip("\n")
