"""Keys with which this box reaches filestores: at most two per mount, the newest first.

The older one stays until the next renewal, because the filestore may not know the newest yet.
"""

from __future__ import annotations

import time
from pathlib import Path

from workers.filestore import programs

KEPT = 2


class KeyDirectory:
    """The keys of one mount, as `key-<number>` in a directory that only root may enter."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def private(self) -> list[Path]:
        """Files of the private keys, the newest first."""
        found = [file for file in self.path.glob("key-*") if file.suffix != ".pub"]
        return sorted(found, key=_number, reverse=True)

    def newest(self) -> str:
        """The public half of the newest key, in OpenSSH's format; made if there is none."""
        keys = self.private()
        return _public(keys[0]) if keys else self.add()

    def age_s(self) -> float:
        """How old the newest key is."""
        return time.time() - self.private()[0].stat().st_mtime

    def add(self) -> str:
        """Make a key and drop those that are older than the former newest one; returns its public half."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        keys = self.private()
        new = self.path / f"key-{_number(keys[0]) + 1 if keys else 1}"
        programs.make_key(str(new))
        for old in self.private()[KEPT:]:
            old.unlink()
            old.with_suffix(".pub").unlink(missing_ok=True)
        return _public(new)

    def remove(self) -> None:
        """Remove all keys and what else belongs to the mount."""
        programs.remove_tree(str(self.path))


def _number(file: Path) -> int:
    return int(file.name.removeprefix("key-"))


def _public(file: Path) -> str:
    return " ".join(file.with_suffix(".pub").read_text().split()[:2])
