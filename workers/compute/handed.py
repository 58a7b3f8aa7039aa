"""What a box makes for one instance and hands into its container: passwords of a screen, for one.

It lies in a directory of that start's own, which the container sees read-only; nobody else on the machine can look
into it, and it goes with the container.
"""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path

from common.access import Way

DIRECTORY = "handed"


class Handed:
    """The directories of all instances of a box."""

    def __init__(self, state_dir: Path) -> None:
        self._root = state_dir.absolute() / DIRECTORY

    def of(self, instance: str, generation: int) -> Path:
        """Where the files of one start lie."""
        return self._root / f"{instance}.{generation}"

    def make(self, way: Way, instance: str, generation: int) -> Path | None:
        """Write what the way of access needs; none if that is nothing. What an earlier try wrote stays."""
        if way.hands_out is None:
            return None
        made = self.of(instance, generation)
        if made.is_dir():
            return made
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = made.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        module, _, function = way.hands_out.partition(":")
        getattr(import_module(module), function)(way, unfinished)
        # Whatever user the container runs as has to read them; on this machine the directory above keeps others out.
        unfinished.chmod(0o755)
        for file in unfinished.iterdir():
            file.chmod(0o444)
        unfinished.rename(made)
        return made

    def remove(self, instance: str, generation: int) -> None:
        """Nothing of it is left; absent is no error."""
        shutil.rmtree(self.of(instance, generation), ignore_errors=True)
