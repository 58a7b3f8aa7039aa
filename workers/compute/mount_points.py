"""Mounts of this machine, as the kernel tells of them and as they are made and undone.

`umount --lazy` never waits for a server and never fails because something is in use.
"""

from __future__ import annotations

import re
from pathlib import Path

from workers.filestore import programs

_ESCAPED = re.compile(r"\\([0-7]{3})")


def mounted(below: Path) -> list[Path]:
    """Mount points at or below a directory, one for each layer, in the order in which they were made."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), line.split(" ")[4]))
        if point.is_relative_to(below):
            points.append(point)
    return points


def layers(point: Path) -> int:
    """How many mounts lie on top of each other at this very place."""
    return mounted(point).count(point)


def share(directory: Path) -> None:
    """Make a directory a mount of its own whose mounts reach the containers that bind what lies in it.

    It is made private first: below a shared root it would else belong to the root's peers, and each mount
    would appear twice.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if layers(directory):
        return
    programs.run(["mount", "--bind", str(directory), str(directory)])
    programs.run(["mount", "--make-private", str(directory)])
    programs.run(["mount", "--make-shared", str(directory)])


def cover(source: Path, point: Path) -> None:
    """Lay a mount over what is mounted at `point`, which may be dead.

    A container that has bound the dead one sees the new one in its place: the dead mount is shared, its bind
    in the container is its slave, and what is mounted on top of the one appears on top of the other.
    """
    programs.run(["mount", "--no-canonicalize", "--bind", str(source), str(point)])


def detach(point: Path) -> None:
    """Take away every layer at `point`."""
    for _ in range(layers(point)):
        programs.run(["umount", "--lazy", "--no-canonicalize", str(point)])
