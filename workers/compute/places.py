"""Empty places in prewarmed containers, over which the owner's files are laid before these wake.

Each is a directory of a shared mount that a container has bound as a slave: what is mounted there appears inside,
paused or not. A mount that heals itself is covered where it lies, and its twin here with it.
"""

from __future__ import annotations

from pathlib import Path

from workers.compute import mount_points


class Places:
    """Places by the name of the prewarmed instance."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def make(self, name: str, count: int) -> list[Path]:
        """So many empty places. Raises ProgramFailed."""
        mount_points.share(self._root)
        points = [self._point(name, number) for number in range(count)]
        for point in points:
            point.mkdir(exist_ok=True)
        return points

    def lay(self, name: str, paths: list[Path]) -> None:
        """Let the places show what is mounted at `paths`, in their order. Raises ProgramFailed."""
        for number, path in enumerate(paths):
            point = self._point(name, number)
            if not mount_points.layers(point):
                mount_points.cover(path, point)

    def clear(self, name: str) -> None:
        """The container is gone: nothing lies there any more."""
        for point in self._of(name):
            mount_points.detach(point)
            point.rmdir()

    def keep_only(self, names: set[str]) -> None:
        """Clear what others than these had."""
        if self._root.is_dir():
            for point in list(self._root.iterdir()):
                if (name := point.name.rpartition(".")[0]) not in names:
                    self.clear(name)

    def _point(self, name: str, number: int) -> Path:
        return self._root / f"{name}.{number}"

    def _of(self, name: str) -> list[Path]:
        return sorted(self._root.glob(f"{name}.*"))
