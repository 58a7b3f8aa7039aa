"""The files in which the output of ended containers is kept: one per start of an instance, bounded."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from common.files import write_atomically

KEPT_BYTES = 2**20
KEPT_FILES = 256


def log_path(directory: Path, instance: str, generation: int) -> Path:
    """Where the output of one start of an instance is kept when its container is gone."""
    return directory / f"{instance}.{generation}.log"


def keep(path: Path, output: bytes) -> None:
    """Keep the last of an output, whole lines if it has to be cut; then the oldest files go."""
    if len(output) > KEPT_BYTES:
        output = output[-KEPT_BYTES:].partition(b"\n")[2]
    write_atomically(path, output, mode=0o600)
    files = sorted(path.parent.glob("*.log"), key=_age, reverse=True)
    for old in files[KEPT_FILES:]:
        old.unlink(missing_ok=True)


def _age(path: Path) -> float:
    with contextlib.suppress(FileNotFoundError):  # another thread was quicker
        return path.stat().st_mtime
    return 0.0


def last_lines(output: bytes, lines: int) -> bytes:
    """The last so many lines."""
    return b"".join(io.BytesIO(output).readlines()[-lines:]) if lines else b""
