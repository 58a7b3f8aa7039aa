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
        point = _point(line.split(" "))
        if point.is_relative_to(below):
            points.append(point)
    return points


def _point(fields: list[str]) -> Path:
    return Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]))


def layers(point: Path) -> int:
    """How many mounts lie on top of each other at this very place."""
    return mounted(point).count(point)


def share(directory: Path) -> None:
    """Make a directory a mount of its own whose mounts reach the containers that bind what lies in it.

    It is made private first: below a shared root it would else belong to the root's peers, and each mount
    would appear twice. What lies on a shared mount of its own is left so: in a box that lives in a container
    that mount is the road to the engine outside, and a private one would cut it.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if layers(directory) or _lies_on_shared(directory):
        return
    programs.run(["mount", "--bind", str(directory), str(directory)])
    programs.run(["mount", "--make-private", str(directory)])
    programs.run(["mount", "--make-shared", str(directory)])


def _lies_on_shared(directory: Path) -> bool:
    """Whether the mount that holds a directory is shared (`shared:N`, proc_pid_mountinfo(5)), and not `/`."""
    deepest, shared = Path("/"), False
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        point = _point(fields)
        if directory.is_relative_to(point) and point.is_relative_to(deepest):
            deepest = point  # of two at one place the later one lies on top
            shared = any(field.startswith("shared:") for field in fields[6 : fields.index("-")])
    return shared and deepest != Path("/")


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
